//! The channels, keys and subscriptions of the log under test.

/// The channel with subscriptions.
pub(crate) const OBSERVED: &str = "observed";
/// A channel whose events lie between those of the observed one.
pub(crate) const OTHER: &str = "other";
/// The keys are the numbers from 1 to this.
pub(crate) const KEYS: i32 = 8;

/// The consumers of a subscription.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Consumers {
    /// One consumer, which can check the order of every key.
    Single,
    /// Several, one claim at a time.
    Competing,
    /// Several, which also publish inside their claims.
    Publishing,
}

#[derive(Clone, Copy)]
pub(crate) struct Subscription {
    pub(crate) id: i32,
    pub(crate) name: &'static str,
    pub(crate) kind: Consumers,
    pub(crate) consumers: usize,
}
