//! The answers of handlers.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The answer of a handler: done, or a [`Failure`] that decides what happens to the delivery.
pub type Handled = Result<(), Failure>;

/// The reason why a handler is not done with a delivery, and what happens to the delivery.
///
/// `?` turns any error into a `Failure` that retries the delivery after the backoff. For this conversion to exist, `Failure`
/// itself is not an error, like `anyhow::Error`.
///
/// # Examples
/// ```
/// use pubsub::{Failure, Handled};
/// use std::time::Duration;
///
/// fn send(receiver: &str) -> Handled {
///     if !receiver.contains('@') {
///         return Err(Failure::reject("not an address"));          // dead letter now: no attempt can succeed
///     }
///     if receiver.ends_with("@busy.example") {
///         return Err(Failure::snooze(Duration::from_secs(60)));   // later; this attempt does not count
///     }
///     let _port: u16 = "no number".parse()?;                      // any error: again, after the backoff
///     Ok(())
/// }
/// # assert!(send("a@busy.example").is_err());
/// ```
#[derive(Debug)]
pub struct Failure {
    pub(crate) wish: Wish,
    pub(crate) error: Option<Box<dyn Error + Send + Sync>>,
}

/// The treatment of a delivery that is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// Again after the backoff.
    Retry,
    /// Again after this delay; the attempt counts.
    RetryAfter(Duration),
    /// Again after this delay; the attempt does not count.
    Snooze(Duration),
    /// Never again.
    Reject,
}

impl Failure {
    /// Retries the delivery after the backoff. The attempt counts; after the last one the event is a dead letter.
    #[must_use]
    pub fn retry(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { wish: Wish::Retry, error: Some(error.into()) }
    }

    /// Retries the delivery after `delay` instead of the backoff. The attempt counts.
    #[must_use]
    pub fn retry_after(delay: Duration, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { wish: Wish::RetryAfter(delay), error: Some(error.into()) }
    }

    /// Postpones the delivery by `delay`. The attempt does not count, so a delivery may be postponed without end.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        Self { wish: Wish::Snooze(delay), error: None }
    }

    /// Makes the event a dead letter now, with this reason, because no attempt can succeed.
    #[must_use]
    pub fn reject(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { wish: Wish::Reject, error: Some(reason.into()) }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.wish {
            Wish::Retry => f.write_str("retry after the backoff")?,
            Wish::RetryAfter(delay) => write!(f, "retry after {delay:?}")?,
            Wish::Snooze(delay) => write!(f, "snooze for {delay:?}")?,
            Wish::Reject => f.write_str("reject")?,
        }
        self.error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}
