//! Moving a subscription in the log.

use crate::model::event::EventId;
use jiff::Timestamp;

/// Where to move a subscription: see [`Subscription::seek`](crate::Subscription::seek).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Seek {
    /// To the oldest event that the log still has.
    Beginning,
    /// To the end of the log: events that have not been read yet are not delivered.
    Now,
    /// To this event: it and all after it are delivered.
    Event(EventId),
    /// To the first event that was published at this time or later, by the database's clock.
    Time(Timestamp),
}

/// The effect of a seek, or of a dry run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SeekReport {
    /// Events that the subscription had passed, and that will be delivered.
    pub replayed: u64,
    /// Events that the subscription had not read yet, and that will not be delivered.
    pub skipped: u64,
}
