//! Where the dispatcher's handler works: a thread, and a line to the cell on it. A handler that blocks its thread for good
//! is left behind there, and another begins on a fresh one.

use super::{Dispatcher, DispatcherConfig};
use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::handler_link::{HandlerConfig, HandlerLink, StartedEvents};
use crate::actors::message::{ExitReason, HandlerDied, HostCommand};
use crate::error::error_chain;
use crate::model::outcome::Outcome;
use crate::observe::HandlerState;
use crate::policy::prefetch::MAX_OUTSTANDING;
use actix::{Addr, AsyncContext, Context, Handler};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long past its timeout a delivery may go unanswered before its thread is taken for blocked: the handler's side
/// answers on time, if anything runs there at all.
const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// How long a handler without a timeout may give no sign of life before that is reported. It is left alone: who says that
/// it may take for ever may block for ever.
const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(10);

pub(super) struct HandlerThread {
    pub(super) commands: mpsc::Sender<HostCommand>,
    /// Ends with this.
    _thread: ArbiterThread,
    started: StartedEvents,
    /// Since when a sign of life is waited for.
    asked: Option<Instant>,
    reported: bool,
}

impl HandlerThread {
    /// Starts a handler on a thread.
    pub(super) fn open(
        config: &DispatcherConfig,
        thread: ArbiterThread,
        dispatcher: &Addr<Dispatcher>,
    ) -> Self {
        let started = StartedEvents::default();
        // One place for each delivery that can be out, and one for a word beside it.
        let (commands, receiver) = mpsc::channel(MAX_OUTSTANDING + 1);
        let line = HandlerLink {
            config: HandlerConfig {
                settings: Arc::clone(&config.settings),
                process: config.process.clone(),
                started: started.clone(),
            },
            commands: receiver,
            answers: dispatcher.clone().recipient(),
            deaths: dispatcher.clone().recipient(),
            recoveries: dispatcher.clone().recipient(),
        };
        (config.start_host)(&thread, line);
        Self { commands, _thread: thread, started, asked: None, reported: false }
    }
}

impl Dispatcher {
    pub(super) fn responded(&mut self) {
        self.handler_thread.asked = None;
        if std::mem::take(&mut self.handler_thread.reported) {
            self.config.gauges.set_state(HandlerState::Running);
        }
    }

    /// Asks a handler that has something in hand for a sign of life, and gives it up if none comes.
    pub(super) fn check_handler(&mut self, context: &mut Context<Self>) {
        let Some(asked) = self.handler_thread.asked else {
            if self.leases.outstanding() > 0
                && self.handler_thread.commands.try_send(HostCommand::Ping).is_ok()
            {
                self.handler_thread.asked = Some(Instant::now());
            }
            return;
        };
        let silent = asked.elapsed();
        match self.config.settings.timeout {
            Some(timeout) if silent > timeout + BLOCKED_AFTER => {
                self.abandon_handler(silent, context);
            }
            None if silent > UNRESPONSIVE_AFTER && !self.handler_thread.reported => {
                self.handler_thread.reported = true;
                self.config.gauges.set_state(HandlerState::Unresponsive);
                let (channel, subscription) = (self.config.settings.channel, self.name());
                tracing::warn!(
                    channel,
                    subscription,
                    ?silent,
                    "a handler gives no sign of life: it blocks its thread"
                );
            }
            _ => {}
        }
    }

    /// Begins with a fresh handler on a fresh thread. What the old one has begun has failed; what has not begun is given
    /// back. Should it ever answer, its answers are not waited for any more.
    fn abandon_handler(&mut self, silent: Duration, context: &mut Context<Self>) {
        let thread = match ArbiterThread::start() {
            Ok(thread) => thread,
            Err(error) => {
                tracing::error!(error = error_chain(&error), "a blocked handler cannot be replaced");
                return;
            }
        };
        let started = self.handler_thread.started.clone();
        let waiting = self.ready.recall();
        self.give_back(&waiting);
        self.handler_thread = HandlerThread::open(&self.config, thread, &context.address());
        let error = format!("timed out: its handler has blocked its thread for {silent:?}");
        for (token, event) in self.leases.unanswered() {
            let outcome = if started.contains(event) {
                Outcome::Failed { error: error.clone(), after: None }
            } else {
                Outcome::Returned
            };
            self.conclude(token, event, outcome);
        }
        let restarts = self.config.gauges.restarts() + 1;
        self.handle(
            HandlerDied { death: ExitReason::Blocked(silent), wait: Duration::ZERO, restarts },
            context,
        );
        self.settle(context);
        self.advance(context);
    }
}
