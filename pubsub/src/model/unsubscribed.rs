//! The events and deliveries that are removed with a subscription.

/// The number of events and deliveries that were removed with a subscription. See
/// [`Subscription::unsubscribe`](crate::Subscription::unsubscribe).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unsubscribed {
    /// Events that it had not read. Counting stops at 10,000, in each lane of an ordered subscription.
    pub unread: u64,
    /// Events that processes were handling, or held ready for their handlers.
    pub leased: u64,
    /// Deliveries that waited for a retry.
    pub waiting: u64,
    /// Dead letters.
    pub dead_letters: u64,
}
