//! The configuration of a dispatcher.

use crate::actors::handler_link::HandlerLink;
use crate::actors::message::{MailboxChanged, RenewWaiter};
use crate::model::process::ProcessId;
use crate::model::settings::SubscriptionSettings;
use crate::observe::Gauges;
use crate::store::Store;
use actix::{Arbiter, Recipient};
use std::sync::Arc;
use std::time::Duration;

/// Starts a handler's host on an arbiter.
pub(crate) type StartHost = Box<dyn Fn(&Arbiter, HandlerLink) + Send>;

/// The configuration of one subscription's dispatcher.
pub(crate) struct DispatcherConfig {
    pub(crate) store: Store,
    /// The subscription's id.
    pub(crate) subscription: i32,
    pub(crate) settings: Arc<SubscriptionSettings>,
    /// The number of subscriptions of this process.
    pub(crate) subscriptions: usize,
    pub(crate) process: ProcessId,
    pub(crate) poll_interval: Duration,
    pub(crate) start_host: StartHost,
    pub(crate) scheduler: Recipient<MailboxChanged>,
    pub(crate) renewals: Recipient<RenewWaiter>,
    pub(crate) gauges: Arc<Gauges>,
}
