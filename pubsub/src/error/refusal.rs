//! A refusal of the server, whichever driver reads it.

use tokio_postgres::error::{DbError, SqlState};

pub(super) const UNDECLARED_CHANNEL: &str = "PB001";
pub(super) const PAYLOAD_TOO_LARGE: &str = "PB002";
pub(super) const UNKNOWN_SUBSCRIPTION: &str = "PB004";
pub(super) const MOVED: &str = "PB005";
pub(super) const PAYLOAD_MISMATCH: &str = "PB008";
pub(super) const IN_USE: &str = "PB009";
pub(super) const LEASE_LOST: &str = "PB010";

/// Whether a SQLSTATE is of one of these classes, or begins like one of them.
pub(crate) fn is_of_class(sqlstate: &str, classes: &[&str]) -> bool {
    classes.iter().any(|class| sqlstate.starts_with(class))
}

/// Whether the server may have ended the session with this error.
pub(crate) fn may_end_session(sqlstate: &str) -> bool {
    is_of_class(sqlstate, &["08", "57P", "XX"])
}

/// Returns the code of an error of `tokio_postgres`, if the server answered with one.
pub(super) fn sqlstate_of<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    error.downcast_ref::<tokio_postgres::Error>()?.code().map(SqlState::code)
}

/// The words of a refusal.
pub(crate) struct Refusal {
    pub(crate) sqlstate: String,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<String>,
}

impl From<&DbError> for Refusal {
    fn from(error: &DbError) -> Self {
        Self {
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
        }
    }
}
