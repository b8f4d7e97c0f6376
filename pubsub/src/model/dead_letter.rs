//! Dead letters.

use crate::contract::redact::Redacted;
use crate::model::event::EventId;
use jiff::Timestamp;
use std::fmt;

/// A delivery that was given up. It is kept until it is redriven or deleted.
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
