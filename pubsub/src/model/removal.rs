//! Removing subscriptions and channels.

/// Whether to remove something that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Remove it only if nothing is lost by that. Otherwise fail with [`Error::InUse`](crate::Error::InUse).
    IfUnused,
    /// Remove it with everything that belongs to it.
    Forced,
}

/// The deliveries that were removed with a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovedSubscription {
    /// Events that it had not read, counted up to 10,000 in each lane.
    pub unread: u64,
    /// Events that handlers worked on.
    pub leased: u64,
    /// Deliveries that waited for a retry.
    pub waiting: u64,
    /// Dead letters.
    pub dead_letters: u64,
}

/// The rows that were removed with a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemovedChannel {
    /// Subscriptions.
    pub subscriptions: u64,
    /// Events.
    pub events: u64,
}
