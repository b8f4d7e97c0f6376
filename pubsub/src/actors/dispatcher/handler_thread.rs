//! The handler's thread, and the dispatcher's end of the link to the handler's host on it.

use super::config::DispatcherConfig;
use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::handler_link::{HandlerConfig, HandlerLink, StartedEvents};
use crate::actors::message::{Answers, HandlerDied, HandlerRecovered, HostCommand};
use crate::model::event::ClaimedEvent;
use crate::policy::prefetch::MAX_OUTSTANDING;
use actix::{Actor, Addr, Context, Handler};
use futures_util::FutureExt;
use futures_util::future::Shared;
use std::sync::Arc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

pub(super) struct HandlerThread {
    /// The number of threads that the subscription had before.
    number: u64,
    /// Resolves when the host is gone.
    gone: Shared<oneshot::Receiver<()>>,
    commands: mpsc::Sender<HostCommand>,
    started: StartedEvents,
    /// The thread, which ends when this is dropped.
    _thread: ArbiterThread,
}

impl HandlerThread {
    /// Starts a handler on a thread.
    pub(super) fn open<D>(config: &DispatcherConfig, thread: ArbiterThread, dispatcher: &Addr<D>) -> Self
    where
        D: Actor<Context = Context<D>> + Handler<Answers> + Handler<HandlerDied> + Handler<HandlerRecovered>,
    {
        let started = StartedEvents::default();
        let (alive, gone) = oneshot::channel();
        // One place for each delivery that can be out, and one for another command.
        let (commands, receiver) = mpsc::channel(MAX_OUTSTANDING + 1);
        let link = HandlerLink {
            config: HandlerConfig {
                settings: Arc::clone(&config.settings),
                process: config.process.clone(),
                started: started.clone(),
            },
            commands: receiver,
            answers: dispatcher.clone().recipient(),
            deaths: dispatcher.clone().recipient(),
            recoveries: dispatcher.clone().recipient(),
            alive,
        };
        (config.start_host)(&thread, link);
        Self { number: 0, gone: gone.shared(), commands, started, _thread: thread }
    }

    /// Replaces another thread. Returns the events that the other thread's handler has started and not finished.
    pub(super) fn replace(self, other: &mut Self) -> StartedEvents {
        let number = other.number + 1;
        std::mem::replace(other, Self { number, ..self }).started
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// The events that the handler has started and not finished.
    pub(super) fn started(&self) -> StartedEvents {
        self.started.clone()
    }

    /// Resolves when the host is gone, to the number of its thread.
    pub(super) fn gone(&self) -> impl Future<Output = u64> + 'static {
        let (number, gone) = (self.number, self.gone.clone());
        gone.map(move |_| number)
    }

    /// Hands events to the handler, or returns those that it cannot take.
    pub(super) fn deliver(&self, events: Vec<ClaimedEvent>) -> Result<(), Vec<ClaimedEvent>> {
        let refused = |refused| match refused {
            TrySendError::Full(HostCommand::Deliver(events))
            | TrySendError::Closed(HostCommand::Deliver(events)) => events,
            TrySendError::Full(_) | TrySendError::Closed(_) => Vec::new(),
        };
        self.commands.try_send(HostCommand::Deliver(events)).map_err(refused)
    }

    /// Asks the host to return the deliveries that have not started. Returns whether the host accepted the command.
    pub(super) fn recall(&self) -> bool {
        self.commands.try_send(HostCommand::Recall).is_ok()
    }

    /// Asks the host to respond. Returns whether the host accepted the command.
    pub(super) fn ping(&self) -> bool {
        self.commands.try_send(HostCommand::Ping).is_ok()
    }

    /// Stops the handler. The senders are dropped once it has stopped.
    pub(super) fn stop(&self, stopped: Vec<oneshot::Sender<()>>) {
        // A host that accepts no commands has stopped already. Then the senders are dropped here.
        drop(self.commands.try_send(HostCommand::Stop(stopped)));
    }
}
