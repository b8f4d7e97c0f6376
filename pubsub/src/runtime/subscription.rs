//! What a subscription is told at the builder, before anything runs.

use crate::actors::cell::{self, Line};
use crate::config::DEFAULT_CONCURRENCY;
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::policy::backoff::Backoff;
use actix::{Actor, Arbiter, Context, Handler};
use std::fmt;
use std::sync::Arc;

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
    max_attempts: Option<u32>,
    backoff: Option<Backoff>,
    concurrency: Option<usize>,
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

    /// The delays between attempts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = Some(backoff);
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
}

/// Starts a handler's cell on an arbiter.
type StartCell = Box<dyn FnOnce(&Arbiter, Line) + Send>;

/// A subscription whose types have been forgotten: what is left is how to start its handler.
pub(super) struct Subscription {
    pub(super) channel: &'static str,
    pub(super) name: Arc<str>,
    pub(super) max_attempts: u32,
    pub(super) backoff: Backoff,
    pub(super) concurrency: usize,
    pub(super) start_cell: StartCell,
}

impl Subscription {
    pub(super) fn new<C, H>(
        name: String,
        options: SubscribeOptions,
        factory: impl Fn() -> H + Send + Unpin + 'static,
    ) -> Self
    where
        C: Channel,
        H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    {
        Self {
            channel: C::NAME,
            name: name.into(),
            max_attempts: options.max_attempts.unwrap_or(C::MAX_ATTEMPTS),
            backoff: options.backoff.unwrap_or(C::BACKOFF),
            concurrency: options.concurrency.unwrap_or(DEFAULT_CONCURRENCY),
            start_cell: Box::new(move |arbiter, line| {
                arbiter.spawn_fn(move || drop(actix_rt::spawn(cell::run::<C, H, _>(line, factory))));
            }),
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("channel", &self.channel)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
