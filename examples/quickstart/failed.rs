//! The error that ends the quickstart early.

use std::error::Error;

/// One sentence, with its causes.
pub(crate) type Failed = Box<dyn Error>;
