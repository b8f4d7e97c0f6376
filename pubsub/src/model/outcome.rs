//! The outcome of one delivery, which its handler host reports.

use crate::error::error_chain;
use crate::model::event::{EventId, LeaseToken};
use crate::model::failure::{Failure, Handled, Treatment};
use crate::panics::{self, Panic};
use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The outcome of one delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The handler is done.
    Done,
    /// The handler is done, and has settled the delivery in a transaction of its own.
    Settled,
    /// The handler failed, or did not get the event; `after` overrides the backoff.
    Failed {
        /// The reason, with its causes.
        error: String,
        /// The delay that the handler asked for.
        after: Option<Duration>,
    },
    /// The handler panicked.
    Panicked(Panic),
    /// The handler asked for a pause that does not count.
    Snoozed(Duration),
    /// The handler says that no attempt can succeed.
    Rejected {
        /// The reason, with its causes.
        error: String,
    },
    /// The handler's type cannot read the payload.
    Undecodable {
        /// serde's message.
        error: String,
    },
    /// The payload's version is newer than this process knows. The event is left to a process that knows it.
    TooNew {
        /// The event's version.
        version: i32,
        /// The newest version that this process knows.
        known: i32,
    },
    /// Returned before it started.
    Returned,
}

/// The outcome of one delivery, under the lease that it was handed out with.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) token: LeaseToken,
    pub(crate) event: EventId,
    pub(crate) outcome: Outcome,
}

/// Returns the text of a handler's error. Its `Display`, `source` and `Drop` are the user's code, and may panic.
fn text_of(error: Box<dyn Error + Send + Sync>) -> String {
    catch_unwind(AssertUnwindSafe(move || error_chain(error.as_ref()))).unwrap_or_else(|payload| {
        let panic = panics::take_newest().unwrap_or_else(|| Panic::from_payload(payload.as_ref()));
        format!("(an error whose text cannot be written: it {panic})")
    })
}

impl Outcome {
    /// Returns the outcome of a delivery whose handler answers `Ok` and settles it in a transaction of its own. `was_committed` is
    /// `None` if that could not be asked.
    pub(crate) fn of_transaction(was_committed: Option<bool>) -> Self {
        let failed = |error: &str, after| Self::Failed { error: error.to_owned(), after };
        match was_committed {
            Some(true) => Self::Settled,
            Some(false) => {
                failed("its handler answered Ok, but did not commit the transaction that settles it", None)
            }
            None => failed(
                "whether the transaction that settles it was committed could not be asked",
                Some(Duration::ZERO),
            ),
        }
    }
}

impl From<Handled> for Outcome {
    fn from(handled: Handled) -> Self {
        let Err(Failure { treatment, error }) = handled else {
            return Self::Done;
        };
        let error = error.map(text_of).unwrap_or_default();
        match treatment {
            Treatment::Retry => Self::Failed { error, after: None },
            Treatment::RetryAfter(delay) => Self::Failed { error, after: Some(delay) },
            Treatment::Snooze(delay) => Self::Snoozed(delay),
            Treatment::Reject => Self::Rejected { error },
        }
    }
}
