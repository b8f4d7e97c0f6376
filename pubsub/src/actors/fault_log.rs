//! Reports faults that happen again and again, such as the loss of the database: once a minute for the whole process.

use crate::error::Error;
use crate::policy::faults::Faults;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

static FAULTS: Mutex<Option<Faults>> = Mutex::new(None);

/// Returns whether to report this error of `what` now: how often it has happened unreported since its last report. A refusal is
/// a fault of `whose`; a database that does not answer is the same fault for all.
pub(crate) fn due(what: &str, whose: &str, error: &Error) -> Option<u64> {
    let fault =
        if error.is_refusal() { format!("{what}: {}: {whose}", error.code()) } else { what.to_owned() };
    let mut faults = FAULTS.lock().unwrap_or_else(PoisonError::into_inner);
    faults.get_or_insert_default().note(fault, Instant::now())
}

/// Reports an error as a warning if it is due, and as a debug event otherwise. Takes the message, the owner of the fault, the
/// error, and further fields.
macro_rules! report_fault {
    ($what:literal, $whose:expr, $error:expr $(, $($fields:tt)+)?) => {
        match $crate::actors::fault_log::due($what, $whose, $error) {
            Some(repeated) => tracing::warn!(
                $($($fields)+,)? repeated, error = $crate::error::error_chain($error), $what
            ),
            None => tracing::debug!($($($fields)+,)? error = $crate::error::error_chain($error), $what),
        }
    };
}

pub(crate) use report_fault;
