//! The text of an error that `main` returns, or that `unwrap` meets: both write it with `Debug`.

use super::{Error, error_chain};
use std::error::Error as _;
use std::fmt;

/// Writes the error and its causes as one sentence, with `{:#?}` their structure.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return f.write_str(&error_chain(self));
        }
        f.debug_struct("Error")
            .field("code", &self.code())
            .field("text", &format_args!("{self}"))
            .field("source", &self.source())
            .finish()
    }
}
