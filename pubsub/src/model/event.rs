//! An event without its payload: its id, its headers, and the lease that it was claimed under.

use crate::error::Error;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The position of an event in the log. Unique in its database; rises roughly in publish order.
///
/// Written and read as a number, by serde, `Display` and `FromStr` alike. Text with a sign is no event id.
///
/// # Examples
/// ```
/// use pubsub::EventId;
///
/// let id: EventId = "17".parse()?;
/// assert_eq!(id, EventId(17));
/// assert_eq!(id.to_string(), "17");
///
/// let error = "seventeen".parse::<EventId>().unwrap_err();
/// assert_eq!(error.to_string(), "`seventeen` is not an event id: expected a whole number without a sign");
/// # Ok::<(), pubsub::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub i64);

impl FromStr for EventId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        // The standard library reads a sign. No id has one, and a sign alone is no number.
        let digits = if text.starts_with(['+', '-']) { &text[..1] } else { text };
        digits.parse().map(Self).map_err(|source| Error::InvalidEventId { text: text.to_owned(), source })
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The token of a lease, which rises with every claim of an event by a subscription. An external system can use it as a fencing
/// token: it refuses a handler whose token is lower than one that it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseToken(pub i64);

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that travels with the payload: trace context, tenant, origin.
pub(crate) type Headers = BTreeMap<String, String>;

/// One start of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    /// The number of the attempt, from 1.
    pub(crate) attempt: u32,
    /// Earlier starts that ended with a panic.
    pub(crate) panics: u32,
}

/// A claimed event. Its payload is not decoded yet, because only the handler's code knows the type.
#[derive(Clone, PartialEq)]
pub(crate) struct ClaimedEvent {
    /// The event's position in the log.
    pub id: EventId,
    /// The process that claimed it.
    pub(crate) process: i64,
    /// The lease it was claimed under.
    pub token: LeaseToken,
    /// Starts of this delivery, including the next one.
    pub attempt: u32,
    /// Earlier starts that ended with a panic.
    pub(crate) panics: u32,
    /// Earlier starts that ended with the death of the process. If there are any, the event is a suspect.
    pub(crate) crashes: u32,
    /// The event's key.
    pub key: Option<String>,
    /// JSON text.
    pub payload: Vec<u8>,
    /// JSON text of an object.
    pub headers: Option<Vec<u8>>,
    /// Version of the payload's shape.
    pub version: i32,
    /// When it was published, by the database's clock.
    pub published_at: Timestamp,
    /// Whether the subscription had passed the event before it was moved back.
    pub(crate) replay: bool,
    /// The reason why its row cannot be read. Then its payload is not there.
    pub(crate) unreadable: Option<String>,
}

/// Without the payload, the key and the headers.
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
    /// The length of its texts, which is most of what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let length = |text: &Option<Vec<u8>>| text.as_ref().map_or(0, Vec::len);
        self.payload.len() + length(&self.headers)
    }

    /// The headers as text. A value that is not a string, which publishers in SQL may write, is shown as its JSON.
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

#[cfg(any(test, feature = "testing"))]
impl ClaimedEvent {
    /// Returns an event without content, at its first attempt, under lease 1.
    pub(crate) fn sample(id: i64) -> Self {
        Self {
            id: EventId(id),
            process: 1,
            token: LeaseToken(1),
            attempt: 1,
            panics: 0,
            crashes: 0,
            key: None,
            payload: Vec::new(),
            headers: None,
            version: 1,
            published_at: Timestamp::UNIX_EPOCH,
            replay: false,
            unreadable: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with_headers(headers: Vec<u8>) -> ClaimedEvent {
        ClaimedEvent { headers: Some(headers), ..ClaimedEvent::sample(1) }
    }

    proptest! {
        #[test]
        fn any_headers_are_read(headers in any::<BTreeMap<String, String>>(), bytes in any::<Vec<u8>>()) {
            let json = serde_json::to_vec(&headers).unwrap();
            prop_assert_eq!(with_headers(json).headers(), headers);
            // None of them comes from the database, and none is a panic.
            prop_assert!(with_headers(bytes).headers().len() < 1_000);
        }

        #[test]
        fn an_event_id_is_its_digits(text in prop_oneof!["[+-]?[0-9]{0,20}", ".*"]) {
            let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
            let expected = text.parse::<i64>().ok().filter(|_| is_number).map(EventId);
            prop_assert_eq!(text.parse::<EventId>().ok(), expected);
        }

        #[test]
        fn an_event_id_reads_back(id in 0..=i64::MAX) {
            prop_assert_eq!(EventId(id).to_string().parse::<EventId>().unwrap(), EventId(id));
        }
    }
}
