//! The link between a dispatcher and the host of its handler.

use crate::actors::message::{Answers, HandlerDied, HandlerRecovered, HostCommand};
use crate::model::event::EventId;
use crate::model::process::ProcessId;
use crate::model::settings::SubscriptionSettings;
use actix::Recipient;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, oneshot};

/// A handler host's end of the link.
pub(crate) struct HandlerLink {
    pub(crate) config: HandlerConfig,
    pub(crate) commands: mpsc::Receiver<HostCommand>,
    pub(crate) answers: Recipient<Answers>,
    pub(crate) deaths: Recipient<HandlerDied>,
    pub(crate) recoveries: Recipient<HandlerRecovered>,
    /// Dropped together with the host, which shows the dispatcher that there is none any more.
    pub(crate) alive: oneshot::Sender<()>,
}

/// The settings of a handler, and the values that its host shares with the dispatcher.
#[derive(Debug, Clone)]
pub(crate) struct HandlerConfig {
    pub(crate) settings: Arc<SubscriptionSettings>,
    pub(crate) process: ProcessId,
    /// The started events, for the dispatcher to read if this thread is blocked or has ended.
    pub(crate) started: StartedEvents,
}

/// The events whose handling has started and not finished. The handler's thread shares them with its dispatcher.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartedEvents(Arc<Mutex<BTreeSet<EventId>>>);

impl StartedEvents {
    pub(super) fn started(&self, event: EventId) {
        self.lock().insert(event);
    }

    pub(super) fn finished(&self, event: EventId) {
        self.lock().remove(&event);
    }

    pub(super) fn contains(&self, event: EventId) -> bool {
        self.lock().contains(&event)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<EventId>> {
        // No thread panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
