//! The settings of a subscription.

use crate::config::{DEFAULT_LANES, MAX_LANES};
use crate::model::backoff::Backoff;
use std::time::Duration;

/// Settings of one subscription, where they differ from its channel's.
///
/// # Examples
/// ```
/// use pubsub::{Backoff, SubscribeOptions};
/// use std::time::Duration;
///
/// let options = SubscribeOptions::new()
///     .max_attempts(3)
///     .backoff(Backoff::new(Duration::from_millis(100), 3.0, Duration::from_secs(10), 0.2))
///     .concurrency(4);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct SubscribeOptions {
    pub(super) max_attempts: Option<u32>,
    pub(super) max_panics: Option<u32>,
    pub(super) timeout: Option<Option<Duration>>,
    pub(super) backoff: Option<Backoff>,
    pub(super) concurrency: Option<usize>,
    pub(super) lanes: Option<u32>,
    pub(super) from_beginning: bool,
    pub(super) unread_limit: Option<Option<Duration>>,
}

impl SubscribeOptions {
    /// The channel's settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts of a delivery before it is a dead letter; at least 1.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = Some(attempts.max(1));
        self
    }

    /// Panics of its handler that make an event a dead letter, even if attempts remain; at least 1.
    #[must_use]
    pub fn max_panics(mut self, panics: u32) -> Self {
        self.max_panics = Some(panics.max(1));
        self
    }

    /// How long the handler may take for one delivery; `None` is as long as it likes. Then the delivery is cancelled, its
    /// attempt has failed, and it is retried.
    ///
    /// The future of a `ResponseFuture` or a `ResponseActFuture` is dropped. An actor that answers with an
    /// `AtomicResponse` is replaced. A handler that blocks its thread cannot be cancelled: it is reported and left behind,
    /// and a fresh one goes on, on a fresh thread.
    #[must_use]
    pub fn timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The delays between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
        self
    }

    /// A new subscription starts with the oldest event that the log still has, and not with what commits after it. For one
    /// that exists it changes nothing: see [`Subscription::seek`](crate::Subscription::seek).
    #[must_use]
    pub fn from_beginning(mut self) -> Self {
        self.from_beginning = true;
        self
    }

    /// Deliveries that the handler works on at once, in this process; at least 1. Default: 16.
    ///
    /// It matters to handlers that answer with a `ResponseFuture` or a `ResponseActFuture`. One that answers from `handle`
    /// itself, or with an `AtomicResponse`, works on one at a time whatever this says.
    #[must_use]
    pub fn concurrency(mut self, deliveries: usize) -> Self {
        self.concurrency = Some(deliveries.max(1));
        self
    }

    /// Handles the events of one key one after another, in publish order, across processes, retries and crashes. The default
    /// of channels declared `ordered`, and of no others.
    ///
    /// An event that is retried holds up the later ones of its key, and no others; once it is done or a dead letter they go
    /// on. The key is the channel's, or what [`PublishOptions::key`](crate::PublishOptions::key) said; events without one are in no order.
    /// Publish order is the order of commits, so let publishers of one key wait for each other, by a row lock for instance.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.lanes = self.lanes.filter(|&lanes| lanes > 0).or(Some(DEFAULT_LANES));
        self
    }

    /// Handles events in no order, although the channel is declared `ordered`. The default of all other channels.
    #[must_use]
    pub fn unordered(mut self) -> Self {
        self.lanes = Some(0);
        self
    }

    /// In how many lanes an [`ordered`](Self::ordered) subscription works, 1 to 64; default: 8. Each key belongs to a lane,
    /// and each lane to one process at a time, so this is how many processes can share the work at most.
    ///
    /// It may be changed: the change comes into force once nothing of the subscription is leased, and until then nothing is
    /// claimed. Say the same everywhere; the process that started last decides.
    #[must_use]
    pub fn lanes(mut self, lanes: u32) -> Self {
        self.lanes = Some(lanes.clamp(1, MAX_LANES));
        self
    }

    /// How long events may lie unread, without a claim by any process, before the subscription is suspended; `None` is for
    /// ever. Unless it is set, here or by `pubsub.set_unread_limit`, it is 14 days.
    ///
    /// The log keeps what a subscription has not read. A suspended one is not waited for, and claims nothing until
    /// [`Subscription::resume`](crate::Subscription::resume). One that is slow and goes on claiming is not suspended, however far
    /// behind it is.
    #[must_use]
    pub fn unread_limit(mut self, limit: Option<Duration>) -> Self {
        self.unread_limit = Some(limit);
        self
    }
}
