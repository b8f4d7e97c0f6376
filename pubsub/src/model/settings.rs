//! The settings of one subscription, after everything that may set them was asked.

use crate::model::backoff::Backoff;
use std::sync::Arc;
use std::time::Duration;

/// The settings of one subscription in this process: its options where they say something, its channel's settings where
/// they do not.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SubscriptionSettings {
    pub(crate) channel: &'static str,
    /// The subscription's name.
    pub(crate) name: Arc<str>,
    /// The newest version of the payload that the handler can read.
    pub(crate) version: i32,
    /// Starts of a delivery before it becomes a dead letter.
    pub(crate) max_attempts: u32,
    /// Panics of its handler before a delivery becomes a dead letter.
    pub(crate) max_panics: u32,
    /// The time that each delivery has.
    pub(crate) timeout: Option<Duration>,
    /// The delays between attempts.
    pub(crate) backoff: Backoff,
    /// Deliveries that the handler works on at once.
    pub(crate) concurrency: usize,
    /// Lanes of an ordered subscription; `None` if it is unordered.
    pub(crate) lanes: Option<u32>,
    /// A new subscription begins with the oldest event that the log still has.
    pub(crate) from_beginning: bool,
    /// The time that events may lie unread.
    pub(crate) unread_limit: TimeLimit,
}

/// A time limit as a subscription sets it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TimeLimit {
    /// Not set here: the channel's limit holds, or the database's.
    #[default]
    Unset,
    Unlimited,
    After(Duration),
}

impl SubscriptionSettings {
    /// Whether the events of one key are handled one after another.
    pub(crate) fn is_ordered(&self) -> bool {
        self.lanes.is_some()
    }
}
