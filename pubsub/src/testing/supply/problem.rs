//! The reason why a source gives no PostgreSQL.

use std::sync::Arc;
use std::{fmt, io};

/// A sentence, and the operating system's error behind it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    pub(super) what: String,
    pub(super) source: Option<Arc<io::Error>>,
}

impl Problem {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), source: None }
    }

    /// For `map_err`: the operating system refused `what`.
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { what: what.into(), source: Some(Arc::new(source)) }
    }
}

/// With the cause, for a list of problems.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.source.as_ref().map_or(Ok(()), |source| write!(f, " ({source})"))
    }
}
