//! The settings of a subscription.

use crate::config::DEFAULT_LANES;
use crate::model::backoff::Backoff;
use crate::model::settings::TimeLimit;
use std::time::Duration;

/// The settings of one subscription that differ from its channel's.
///
/// The setters accept every value. [`Builder::start`](crate::Builder::start) refuses a value that is not allowed with
/// [`Error::InvalidSetting`](crate::Error::InvalidSetting).
///
/// # Examples
/// ```
/// use pubsub::{Backoff, SubscribeOptions};
/// use std::time::Duration;
///
/// let options = SubscribeOptions::new()
///     .max_attempts(3)
///     .backoff(Backoff::exponential(Duration::from_millis(100)).factor(3.0).max(Duration::from_secs(10)))
///     .concurrency(4);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SubscribeOptions {
    pub(super) max_attempts: Option<u32>,
    pub(super) max_panics: Option<u32>,
    pub(super) max_crashes: Option<u32>,
    pub(super) timeout: TimeLimit,
    pub(super) backoff: Option<Backoff>,
    pub(super) concurrency: Option<usize>,
    pub(super) order: Order,
    pub(super) from_beginning: bool,
    pub(super) unread_limit: TimeLimit,
    pub(super) dead_letter_retention: Option<Duration>,
}

/// Whether the events of one key are handled one after another.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Order {
    /// The channel's order.
    #[default]
    OfChannel,
    Unordered,
    Ordered {
        lanes: u32,
    },
}

impl SubscribeOptions {
    /// Returns options that keep all settings of the channel.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the number of attempts after which a delivery becomes a dead letter, from 1. Default: the channel's, which is 20
    /// unless set.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts);
        self
    }

    /// Sets the number of panics of its handler after which a delivery becomes a dead letter, even if attempts remain; from 1.
    /// Default: the channel's, which is 3 unless set.
    #[must_use]
    pub fn max_panics(mut self, panics: u32) -> Self {
        self.max_panics = Some(panics);
        self
    }

    /// Sets the number of deaths of its process after which a delivery becomes a dead letter, even if attempts remain; from 1.
    /// Default: the channel's, which is 3 unless set.
    ///
    /// At its first death, a delivery is beside others. Before a death that would make it a dead letter, it is the only suspect in
    /// its process. So with a limit of 1, dead letters may be innocent.
    #[must_use]
    pub fn max_crashes(mut self, crashes: u32) -> Self {
        self.max_crashes = Some(crashes);
        self
    }

    /// Sets the time that the handler has for one delivery, at most 24 h. After this time the delivery is cancelled, and
    /// retried like any failed delivery. Default: the channel's, which has no timeout unless set.
    ///
    /// To cancel a delivery, the future of a `ResponseFuture` or a `ResponseActFuture` is dropped, and an actor that answers
    /// with an `AtomicResponse` is replaced. A handler that blocks its thread cannot be cancelled: it is reported and
    /// abandoned, and a new one starts on a new thread.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = TimeLimit::After(timeout);
        self
    }

    /// Gives the handler as much time as it needs, even if the channel has a timeout.
    #[must_use]
    pub fn no_timeout(mut self) -> Self {
        self.timeout = TimeLimit::Unlimited;
        self
    }

    /// Sets the delays between attempts. Default: the channel's, which is [`Backoff::DEFAULT`] unless set.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// Starts a new subscription with the oldest event in the log. By default it starts with the events that commit after its
    /// first start. A subscription that exists is not affected: see [`Subscription::seek`](crate::Subscription::seek).
    #[must_use]
    pub fn from_beginning(mut self) -> Self {
        self.from_beginning = true;
        self
    }

    /// Sets the number of deliveries that the handler works on at once in this process, from 1 to 100,000. Default: 16.
    ///
    /// A handler that answers from `handle` itself, or with an `AtomicResponse`, always works on one delivery at a time.
    #[must_use]
    pub fn concurrency(mut self, deliveries: usize) -> Self {
        self.concurrency = Some(deliveries);
        self
    }

    /// Handles the events of one key one after another, in publish order, across processes, retries and crashes. The default
    /// of channels that are declared `ordered`.
    ///
    /// An event that is retried delays the later events of its key, and no others. They continue once it is done or a dead
    /// letter.
    ///
    /// The key is the channel's ([`Channel::key`](crate::Channel::key)), unless
    /// [`PublishOptions::key`](crate::PublishOptions::key) sets another one. Events without a key are in no order. Publish
    /// order is the order of commits, so publishers of one key must wait for each other, for example by a row lock.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        if !matches!(self.order, Order::Ordered { .. }) {
            self.order = Order::Ordered { lanes: DEFAULT_LANES };
        }
        self
    }

    /// Handles events in no particular order. The default of channels that are not declared `ordered`.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.order = Order::Unordered;
        self
    }

    /// Makes the subscription [`ordered`](Self::ordered) with this number of lanes, from 1 to 64. `ordered` alone sets 8.
    ///
    /// Each key belongs to a lane, and each lane to one process at a time. The number of lanes is therefore the number of
    /// processes that can share the work.
    ///
    /// The number may be changed. The change takes effect once no event of the subscription is leased, and until then no
    /// event is claimed. If processes set different numbers, the process that started last decides.
    #[must_use]
    pub fn lanes(mut self, lanes: u32) -> Self {
        self.order = Order::Ordered { lanes };
        self
    }

    /// Sets the time for which events may stay unread, without a claim by any process, before the subscription is suspended.
    /// Default: the database's setting, which is 14 days unless `pubsub.set_unread_limit` changed it.
    ///
    /// The log keeps the events that a subscription has not read. It does not wait for a suspended subscription, which claims
    /// nothing until [`Subscription::resume`](crate::Subscription::resume). A subscription that is slow but claims events is not
    /// suspended, however far behind it is.
    #[must_use]
    pub fn unread_limit(mut self, limit: Duration) -> Self {
        self.unread_limit = TimeLimit::After(limit);
        self
    }

    /// Keeps the subscription from being suspended. The log then keeps its unread events without a time limit.
    #[must_use]
    pub fn no_unread_limit(mut self) -> Self {
        self.unread_limit = TimeLimit::Unlimited;
        self
    }

    /// Deletes dead letters of the subscription once they are older than this. Default: they are kept until they are redriven or
    /// purged.
    ///
    /// This process deletes them while it runs, up to a thousand every 15 s. If processes set different times, the shortest counts.
    #[must_use]
    pub fn dead_letter_retention(mut self, retention: Duration) -> Self {
        self.dead_letter_retention = Some(retention);
        self
    }
}
