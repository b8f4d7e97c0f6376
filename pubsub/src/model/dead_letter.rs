//! Dead letters.

use crate::contract::redact::Redacted;
use crate::model::event::EventId;
use jiff::Timestamp;
use std::fmt;

/// A delivery that was given up. It is kept until it is redriven or purged.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event.
    pub event_id: EventId,
    /// The event's payload, as JSON text.
    pub payload: String,
    /// The reason why it was given up.
    pub reason: Reason,
    /// Attempts of the delivery.
    pub attempts: u32,
    /// The error of the last attempt.
    pub error: Option<String>,
    /// Time of the event's publication, by the database's clock.
    pub published_at: Timestamp,
    /// Time at which it was given up, by the database's clock.
    pub died_at: Timestamp,
    /// Whether the payload has a redacted field.
    pub(crate) redacted: bool,
}

/// Without the payload, if one of its fields is redacted.
impl fmt::Debug for DeadLetter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event_id, payload, reason, attempts, error, published_at, died_at, redacted } = self;
        let mut shown = f.debug_struct("DeadLetter");
        shown.field("event_id", event_id);
        match redacted {
            true => shown.field("payload", &Redacted),
            false => shown.field("payload", payload),
        };
        shown
            .field("reason", reason)
            .field("attempts", attempts)
            .field("error", error)
            .field("published_at", published_at)
            .field("died_at", died_at)
            .finish()
    }
}

/// Selects dead letters by their reason and their age. The default selects all.
///
/// # Examples
/// ```
/// use jiff::Timestamp;
/// use pubsub::subscription::{DeadLetterFilter, Reason};
/// use std::time::Duration;
///
/// let week_ago = Timestamp::now() - Duration::from_secs(7 * 24 * 60 * 60);
/// let old_crashes = DeadLetterFilter::new().reason(Reason::Crashed).died_before(week_ago);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    pub(crate) reason: Option<Reason>,
    pub(crate) died_before: Option<Timestamp>,
}

impl DeadLetterFilter {
    /// Returns a filter that selects all dead letters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects only dead letters with this reason. [`Reason::Other`] selects none.
    #[must_use]
    pub fn reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Selects only dead letters that were given up before this time, by the database's clock.
    #[must_use]
    pub fn died_before(mut self, time: Timestamp) -> Self {
        self.died_before = Some(time);
        self
    }
}

/// The reason why a delivery became a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It failed at its last attempt.
    Exhausted,
    /// The handler answered with [`Failure::reject`](crate::Failure::reject).
    Rejected,
    /// The subscriber's type cannot read the payload.
    Undecodable,
    /// Its handler panicked as often as the subscription allows.
    Panicked,
    /// Its process died: at the last attempt, or as often as the subscription allows.
    Crashed,
    /// A reason that only a newer version of this library knows.
    Other,
}

impl Reason {
    const ALL: [Self; 6] =
        [Self::Exhausted, Self::Rejected, Self::Undecodable, Self::Panicked, Self::Crashed, Self::Other];

    /// The reason's word in the column `reason` of `pubsub.dead_letters`; `other` for [`Other`](Self::Other).
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
            Self::Panicked => "panicked",
            Self::Crashed => "crashed",
            Self::Other => "other",
        }
    }

    /// Returns the reason with this word, or [`Other`](Self::Other).
    pub(crate) fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word).unwrap_or(Self::Other)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "out of attempts",
            Self::Rejected => "rejected by its handler",
            Self::Undecodable => "its payload cannot be decoded",
            Self::Panicked => "its handler panicked too often",
            Self::Crashed => "its process died too often or at its last attempt",
            Self::Other => "for a reason that this version does not know",
        })
    }
}
