//! The effective settings of one subscription.

use crate::model::backoff::Backoff;
use std::sync::Arc;
use std::time::Duration;

/// The settings of one subscription in this process. A setting that its options do not set is the channel's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SubscriptionSettings {
    pub(crate) channel: &'static str,
    /// The subscription's name.
    pub(crate) name: Arc<str>,
    /// The newest version of the payload that the handler can read.
    pub(crate) version: i32,
    /// The attempts after which a delivery becomes a dead letter.
    pub(crate) max_attempts: u32,
    /// The panics of its handler after which a delivery becomes a dead letter.
    pub(crate) max_panics: u32,
    /// The deaths of its process after which a delivery becomes a dead letter.
    pub(crate) max_crashes: u32,
    /// The time that the handler has for each delivery.
    pub(crate) timeout: Option<Duration>,
    /// The delays between attempts.
    pub(crate) backoff: Backoff,
    /// Deliveries that the handler works on at once.
    pub(crate) concurrency: usize,
    /// Lanes of an ordered subscription; `None` if it is unordered.
    pub(crate) lanes: Option<u32>,
    /// Whether a new subscription starts with the oldest event that the log still has.
    pub(crate) from_beginning: bool,
    /// The time for which events may stay unread.
    pub(crate) unread_limit: TimeLimit,
    /// The age at which dead letters are deleted; `None` keeps them.
    pub(crate) dead_letter_retention: Option<Duration>,
}

/// A time limit that a subscription may set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum TimeLimit {
    /// Not set, so the limit of the channel or of the database applies.
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
