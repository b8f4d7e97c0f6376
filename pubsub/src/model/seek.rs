//! Moving a subscription in the log.

use crate::model::event::EventId;
use jiff::Timestamp;

/// Where to move a subscription: see [`Subscription::seek`](crate::Subscription::seek).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seek {
    /// To the oldest event that the log still has.
    Beginning,
    /// To the end of the log: what has not been read yet is not delivered.
    Now,
    /// To this event: it and all after it are delivered.
    Event(EventId),
    /// To the first event that was published at this time or later, by the database's clock.
    Time(Timestamp),
}

/// What a seek does, or would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeekReport {
    /// Events that the subscription had passed, and will be delivered.
    pub replayed: u64,
    /// Events that it had not read yet, and will not be delivered.
    pub skipped: u64,
}
