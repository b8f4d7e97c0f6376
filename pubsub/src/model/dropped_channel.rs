//! The result of dropping a channel.

/// The rows that were removed with a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DroppedChannel {
    /// Subscriptions.
    pub subscriptions: u64,
    /// Events.
    pub events: u64,
}
