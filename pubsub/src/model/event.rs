//! What identifies and surrounds an event.

use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// The position of an event in the log: unique in its database, rising roughly in publish order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub i64);

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A claim's right to settle: rises with every claim of an event by a subscription, so that a system outside can
/// refuse an answer older than one it has seen (a fencing token).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseToken(pub i64);

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text beside the payload: trace context, tenant, origin.
pub(crate) type Headers = BTreeMap<String, String>;

/// Which start of a delivery this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// From 1.
    pub(crate) attempt: u32,
    /// How many before it ended with a panic.
    pub(crate) panics: u32,
}

/// An event as it was claimed: its payload not yet decoded, for the type is known only where the handler is.
#[derive(Clone, PartialEq)]
pub(crate) struct ClaimedEvent {
    /// Where it stands in the log.
    pub id: EventId,
    /// The process that claimed it.
    pub(crate) process: i64,
    /// The lease it was claimed under.
    pub token: LeaseToken,
    /// Starts of this delivery, the coming one included.
    pub attempt: u32,
    /// How many starts before it ended with a panic.
    pub(crate) panics: u32,
    /// How many starts before it ended with the death of its process: if any, it is a suspect.
    pub(crate) crashes: u32,
    /// What the publisher orders by, if anything.
    pub key: Option<String>,
    /// JSON text.
    pub payload: Vec<u8>,
    /// JSON text of an object.
    pub headers: Option<Vec<u8>>,
    /// Version of the payload's shape.
    pub version: i32,
    /// When it was published, by the database's clock.
    pub published_at: Timestamp,
    /// The subscription had passed it before, and was moved back.
    pub(crate) replay: bool,
}

/// Without what was published: its payload, its key and its headers.
impl fmt::Debug for ClaimedEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClaimedEvent")
            .field("id", &self.id.0)
            .field("token", &self.token.0)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}

impl ClaimedEvent {
    /// The headers as text. A value that is not a string stands as its JSON: other languages may write what they like.
    pub(crate) fn headers(&self) -> Headers {
        let parsed: serde_json::Map<String, serde_json::Value> =
            self.headers.as_deref().and_then(|json| serde_json::from_slice(json).ok()).unwrap_or_default();
        parsed
            .into_iter()
            .map(|(name, value)| match value {
                serde_json::Value::String(text) => (name, text),
                other => (name, other.to_string()),
            })
            .collect()
    }
}
