//! The line between a dispatcher and the cell of its handler: what both of them know.

use crate::actors::message::{Answers, HandlerDied, HandlerRecovered, HostCommand};
use crate::model::event::EventId;
use crate::model::process::ProcessId;
use actix::Recipient;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;

/// How a cell speaks with its dispatcher.
pub(crate) struct HandlerLink {
    pub(crate) config: HandlerConfig,
    pub(crate) commands: mpsc::Receiver<HostCommand>,
    pub(crate) answers: Recipient<Answers>,
    pub(crate) deaths: Recipient<HandlerDied>,
    pub(crate) recoveries: Recipient<HandlerRecovered>,
}

/// What a cell is for.
#[derive(Debug, Clone)]
pub(crate) struct HandlerConfig {
    pub(crate) subscription: Arc<str>,
    pub(crate) process: ProcessId,
    pub(crate) concurrency: usize,
    /// The time that each delivery has.
    pub(crate) timeout: Option<Duration>,
    /// Where to write down what has begun, should this thread never answer again.
    pub(crate) started: StartedEvents,
}

/// The events that a handler has begun and not ended. Shared between its thread and its dispatcher.
#[derive(Debug, Clone, Default)]
pub(crate) struct StartedEvents(Arc<Mutex<HashSet<EventId>>>);

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

    fn lock(&self) -> MutexGuard<'_, HashSet<EventId>> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
