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
///
/// # Errors of your own
/// Because any error is converted already, `impl From<MyError> for Failure` does not compile for a type that is an error: rustc
/// reports conflicting implementations.
///
/// ```compile_fail,E0119
/// # use pubsub::Failure;
/// #[derive(Debug)]
/// enum Refused { Closed, Busy }
/// # impl std::fmt::Display for Refused {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{self:?}") }
/// # }
/// impl std::error::Error for Refused {}
/// impl From<Refused> for Failure {
///     fn from(refused: Refused) -> Self { Failure::reject(refused) }
/// }
/// ```
///
/// Give it a method instead, and use it with `map_err`:
///
/// ```
/// # use pubsub::{Failure, Handled};
/// # use std::time::Duration;
/// # #[derive(Debug)]
/// # enum Refused { Closed, Busy }
/// # impl std::fmt::Display for Refused {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{self:?}") }
/// # }
/// # impl std::error::Error for Refused {}
/// impl Refused {
///     fn into_failure(self) -> Failure {
///         match self {
///             Refused::Closed => Failure::reject(self),
///             Refused::Busy => Failure::snooze(Duration::from_secs(60)),
///         }
///     }
/// }
///
/// # fn call() -> Result<(), Refused> { Err(Refused::Busy) }
/// fn handle() -> Handled {
///     call().map_err(Refused::into_failure)
/// }
/// # assert!(handle().is_err());
/// ```
#[derive(Debug)]
pub struct Failure {
    pub(crate) treatment: Treatment,
    pub(crate) error: Option<Box<dyn Error + Send + Sync>>,
}

/// The treatment of a delivery that is not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
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
        Self { treatment: Treatment::Retry, error: Some(error.into()) }
    }

    /// Retries the delivery after `delay` instead of the backoff. The attempt counts.
    #[must_use]
    pub fn retry_after(delay: Duration, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { treatment: Treatment::RetryAfter(delay), error: Some(error.into()) }
    }

    /// Postpones the delivery by `delay`. The attempt does not count, so a delivery may be postponed without end.
    #[must_use]
    pub fn snooze(delay: Duration) -> Self {
        Self { treatment: Treatment::Snooze(delay), error: None }
    }

    /// Makes the event a dead letter now, with this reason, because no attempt can succeed.
    #[must_use]
    pub fn reject(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { treatment: Treatment::Reject, error: Some(reason.into()) }
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::retry(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.treatment {
            Treatment::Retry => f.write_str("retry after the backoff")?,
            Treatment::RetryAfter(delay) => write!(f, "retry after {delay:?}")?,
            Treatment::Snooze(delay) => write!(f, "snooze for {delay:?}")?,
            Treatment::Reject => f.write_str("reject")?,
        }
        self.error.as_ref().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}
