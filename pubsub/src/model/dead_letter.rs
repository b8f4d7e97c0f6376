//! A delivery given up.

use crate::contract::redact::Redacted;
use crate::model::event::EventId;
use jiff::Timestamp;
use std::fmt;

/// A delivery given up, kept until somebody redrives it.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event.
    pub event_id: EventId,
    /// The event's payload, as JSON text.
    pub payload: String,
    /// Why it was given up.
    pub reason: Reason,
    /// How often the handler was started for it.
    pub attempts: u32,
    /// What the last attempt ended with.
    pub error: Option<String>,
    /// When the event was published, by the database's clock.
    pub published_at: Timestamp,
    /// When it was given up, by the database's clock.
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

/// Why a delivery was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// It failed at its last attempt.
    Exhausted,
    /// The handler said that no attempt can succeed.
    Rejected,
    /// The payload is not what the subscriber's type can read.
    Undecodable,
    /// Its process died at its last attempt.
    Crashed,
    /// A reason that only a newer version of this library knows.
    Other,
}

impl Reason {
    /// The reason behind the database's word for it.
    pub(crate) fn from_word(word: &str) -> Self {
        match word {
            "exhausted" => Self::Exhausted,
            "rejected" => Self::Rejected,
            "undecodable" => Self::Undecodable,
            "crashed" => Self::Crashed,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "out of attempts",
            Self::Rejected => "rejected by its handler",
            Self::Undecodable => "its payload cannot be decoded",
            Self::Crashed => "its process died at its last attempt",
            Self::Other => "for a reason that this version does not know",
        })
    }
}
