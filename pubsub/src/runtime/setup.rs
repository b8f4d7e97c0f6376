//! The setup of a runtime, which the builder collects.

use super::options::{Order, SubscribeOptions};
use crate::actors::dispatcher::config::StartHost;
use crate::actors::handler_host;
use crate::config::{Config, DEFAULT_CONCURRENCY, DEFAULT_LANES};
use crate::error::Error;
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::model::retention::Retention;
use crate::model::settings::{SubscriptionSettings, TimeLimit};
use crate::store::Target;
use actix::{Actor, Context, Handler};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// A runtime before it starts.
pub(super) struct Setup {
    /// The database, unless it cannot be read where it is.
    pub(super) target: Result<Target, Error>,
    pub(super) config: Config,
    pub(super) declarations: BTreeMap<&'static str, Declaration>,
    pub(super) retentions: BTreeMap<&'static str, Retention>,
    pub(super) subscriptions: Vec<SubscriptionSetup>,
}

/// Without the database's URL, which has a password.
impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target: _, config, declarations, retentions, subscriptions } = self;
        f.debug_struct("Setup")
            .field("config", config)
            .field("declarations", declarations)
            .field("retentions", retentions)
            .field("subscriptions", subscriptions)
            .finish_non_exhaustive()
    }
}

/// The declaration of a channel by this process.
#[derive(Debug, Clone, Copy)]
pub(super) struct Declaration {
    pub(super) version: u32,
    pub(super) description: &'static str,
    pub(super) retention: Retention,
    pub(super) fingerprint: u64,
    pub(super) strict: bool,
    pub(super) json_schema: fn() -> Option<serde_json::Value>,
}

/// A subscription without its types: its settings, and a function that starts its handler.
pub(super) struct SubscriptionSetup {
    pub(super) settings: SubscriptionSettings,
    /// `None`: its handler runs in other processes.
    pub(super) start_host: Option<StartHost>,
}

impl SubscriptionSetup {
    pub(super) fn new<C, H>(
        name: String,
        options: SubscribeOptions,
        factory: impl Fn() -> H + Send + Unpin + 'static,
    ) -> Self
    where
        C: Channel,
        H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    {
        let factory = Arc::new(Mutex::new(factory));
        let start_host: StartHost = Box::new(move |arbiter, link| {
            let factory = Arc::clone(&factory);
            // A factory that panicked has poisoned the lock. The handler host handles that panic.
            let build = move || factory.lock().unwrap_or_else(PoisonError::into_inner)();
            arbiter.spawn_fn(move || drop(actix_rt::spawn(handler_host::run::<C, H, _>(link, build))));
        });
        Self { start_host: Some(start_host), ..Self::elsewhere::<C>(name, options) }
    }

    /// Returns a subscription whose handler runs in other processes.
    pub(super) fn elsewhere<C: Channel>(name: String, options: SubscribeOptions) -> Self {
        let settings = SubscriptionSettings {
            channel: C::NAME,
            name: name.into(),
            version: i32::try_from(C::VERSION).unwrap_or(i32::MAX),
            max_attempts: options.max_attempts.unwrap_or(C::MAX_ATTEMPTS),
            max_panics: options.max_panics.unwrap_or(C::MAX_PANICS),
            max_crashes: options.max_crashes.unwrap_or(C::MAX_CRASHES),
            timeout: match options.timeout {
                TimeLimit::Unset => C::TIMEOUT,
                TimeLimit::Unlimited => None,
                TimeLimit::After(timeout) => Some(timeout),
            },
            backoff: options.backoff.unwrap_or(C::BACKOFF),
            concurrency: options.concurrency.unwrap_or(DEFAULT_CONCURRENCY),
            lanes: match options.order {
                Order::OfChannel => C::ORDERED.then_some(DEFAULT_LANES),
                Order::Unordered => None,
                Order::Ordered { lanes } => Some(lanes),
            },
            from_beginning: options.from_beginning,
            unread_limit: options.unread_limit,
            dead_letter_retention: options.dead_letter_retention,
        };
        Self { settings, start_host: None }
    }
}

impl fmt::Debug for SubscriptionSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionSetup")
            .field("channel", &self.settings.channel)
            .field("name", &self.settings.name)
            .finish_non_exhaustive()
    }
}
