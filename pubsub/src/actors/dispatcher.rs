//! Feeds one subscription's handler: claims what it can take, and settles what it answers.
//!
//! Owns: its leases, its prefetch, its waiter row · Receives: `Wake`, `MailboxDue`, `Answers`, the handler's deaths, `Drain`
//! · Sends: deliveries to the handler's cell, `MailboxChanged` to the scheduler · If it dies: restarted without memory; it
//! gives back whatever the database still has under its name.

mod delivering;
mod handler_thread;
mod intake;
mod settling;
mod suspects;
mod versions;
mod waiter;

use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::handler_link::HandlerLink;
use crate::actors::message::{
    Answers, Drain, ExitReason, HandlerDied, HandlerRecovered, HostCommand, IncarnationEnded, MailboxChanged,
    MailboxDue, ProcessReregistered, Wake,
};
use crate::error::error_chain;
use crate::model::process::ProcessId;
use crate::model::settings::SubscriptionSettings;
use crate::observe::{Gauges, HandlerState};
use crate::policy::leases::Leases;
use crate::policy::prefetch::Prefetch;
use crate::policy::ready_queue::ReadyQueue;
use crate::store::Store;
use actix::{
    Actor, ActorFutureExt, Addr, Arbiter, AsyncContext, Context, Handler, Recipient, ResponseFuture,
    Supervised, WrapFuture,
};
use handler_thread::HandlerThread;
use intake::Intake;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use waiter::Row;

/// Starts a handler's cell on an arbiter.
pub(crate) type StartHost = Box<dyn Fn(&Arbiter, HandlerLink) + Send>;

/// Everything that a dispatcher is given at its start.
pub(crate) struct DispatcherConfig {
    pub(crate) store: Store,
    /// The subscription's id.
    pub(crate) subscription: i32,
    pub(crate) settings: Arc<SubscriptionSettings>,
    pub(crate) process: ProcessId,
    pub(crate) poll_interval: Duration,
    pub(crate) start_host: StartHost,
    pub(crate) scheduler: Recipient<MailboxChanged>,
    pub(crate) gauges: Arc<Gauges>,
}

pub(crate) struct Dispatcher {
    config: DispatcherConfig,
    handler_thread: HandlerThread,
    leases: Leases,
    /// Claimed, and not yet with the handler.
    ready: ReadyQueue,
    prefetch: Prefetch,
    intake: Intake,
    /// Versions that were too new, and that was said.
    too_new: BTreeSet<i32>,
    /// Whether a look for answers that have lingered is planned.
    settle_planned: bool,
    /// Failed settlements since the last that went through.
    settle_failures: u32,
    /// The handler waits after too many deaths: nothing is claimed for it.
    quarantined: bool,
    /// Whoever waits for the drain to end; empty while not draining.
    drains: Vec<oneshot::Sender<()>>,
    /// Drained: nothing is claimed any more.
    stopped: bool,
}

impl Dispatcher {
    /// A dispatcher that will live at `address`, and its handler, on a thread of its own.
    pub(crate) fn new(config: DispatcherConfig, thread: ArbiterThread, address: &Addr<Self>) -> Self {
        Self {
            handler_thread: HandlerThread::open(&config, thread, address),
            leases: Leases::default(),
            ready: ReadyQueue::new(config.settings.is_ordered()),
            prefetch: Prefetch::new(config.settings.concurrency),
            intake: Intake::default(),
            too_new: BTreeSet::new(),
            settle_planned: false,
            settle_failures: 0,
            quarantined: false,
            drains: Vec::new(),
            stopped: false,
            config,
        }
    }

    /// The subscription's name.
    fn name(&self) -> &str {
        &self.config.settings.name
    }

    fn draining(&self) -> bool {
        !self.drains.is_empty()
    }

    /// Gives back what has not begun, and asks the cell to do the same.
    fn recall(&mut self) {
        let waiting = self.ready.recall();
        self.give_back(&waiting);
        if self.handler_thread.commands.try_send(HostCommand::Recall).is_err() {
            tracing::debug!(
                subscription = self.name(),
                "the handler's cell is gone or busy; nothing is recalled"
            );
        }
    }

    /// Whatever was held is held no more.
    fn forget(&mut self) {
        self.leases = Leases::default();
        self.ready = ReadyQueue::new(self.config.settings.is_ordered());
    }

    /// Leaves the lanes to the other processes, which take each as soon as nothing is leased of it.
    fn leave_lanes(&self, context: &mut Context<Self>) {
        let (store, subscription, process) = self.claimant();
        let leaving = async move { store.stop_running(subscription, process).await };
        context.spawn(leaving.into_actor(self).map(|left, _, _| {
            if let Err(error) = left {
                // They leave with the process.
                tracing::debug!(
                    error = error_chain(&error),
                    "the lanes of a subscription were not left early"
                );
            }
        }));
    }

    /// Ends the drain once nothing is held and nothing is under way: then the handler may stop.
    fn finish_drain(&mut self, context: &mut Context<Self>) {
        let held_up = self.intake.is_working() || self.intake.waiter.leaving;
        if !self.draining() || !self.leases.is_empty() || held_up {
            return;
        }
        if !matches!(self.intake.waiter.row, Row::None) {
            self.remove_waiter(context);
            return;
        }
        // A cell that takes no command any more has stopped already: dropping the senders tells it as well.
        drop(self.handler_thread.commands.try_send(HostCommand::Stop(std::mem::take(&mut self.drains))));
        self.stopped = true;
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(self.config.poll_interval, |actor, context| {
            actor.check_handler(context);
            actor.intake.poll_due();
            actor.settle(context);
            actor.advance(context);
        });
        self.advance(context);
    }
}

impl Supervised for Dispatcher {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.forget();
        self.intake = Intake::after_restart();
        self.settle_planned = false;
        self.recall();
    }
}

impl Handler<Wake> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Wake, context: &mut Self::Context) {
        self.intake.log_ready();
        self.advance(context);
    }
}

impl Handler<MailboxDue> for Dispatcher {
    type Result = ();

    fn handle(&mut self, due: MailboxDue, context: &mut Self::Context) {
        self.intake.mailbox_ready(due.ordinary, due.suspect);
        self.advance(context);
    }
}

impl Handler<Answers> for Dispatcher {
    type Result = ();

    fn handle(&mut self, answers: Answers, context: &mut Self::Context) {
        self.responded();
        self.prefetch.observe(answers.answers.len(), answers.busy, answers.peak);
        for answer in answers.answers {
            self.take_answer(answer);
        }
        self.release_ready();
        self.settle(context);
        self.advance(context);
    }
}

impl Handler<HandlerDied> for Dispatcher {
    type Result = ();

    fn handle(&mut self, died: HandlerDied, _: &mut Self::Context) {
        let HandlerDied { death, wait, restarts } = died;
        let (channel, subscription) = (self.config.settings.channel, self.name());
        if wait.is_zero() {
            tracing::warn!(channel, subscription, why = %death, restarts, "a handler died and restarts");
        } else {
            tracing::error!(channel, subscription, why = %death, restarts, ?wait, "a handler dies too often and must wait");
            self.config.gauges.set_state(HandlerState::Quarantined);
        }
        if !wait.is_zero() {
            self.quarantined = true;
            let waiting = self.ready.recall();
            self.give_back(&waiting);
        }
        self.config.gauges.handler_died(match &death {
            ExitReason::Panicked(panic) => Some(panic),
            ExitReason::StoppedItself | ExitReason::TimedOut(_) | ExitReason::Blocked(_) => None,
        });
    }
}

impl Handler<HandlerRecovered> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: HandlerRecovered, context: &mut Self::Context) {
        tracing::info!(
            channel = self.config.settings.channel,
            subscription = self.name(),
            "a handler has recovered"
        );
        self.config.gauges.set_state(HandlerState::Running);
        self.quarantined = false;
        self.intake.log_ready();
        self.intake.mailbox_ready(true, true);
        self.advance(context);
    }
}

impl Handler<ProcessReregistered> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: ProcessReregistered, context: &mut Self::Context) {
        // What was held is in the mailbox now, for whoever claims it. What the handler has begun it will finish; its
        // answers are refused.
        self.forget();
        self.intake.reregistered();
        self.recall();
        self.advance(context);
    }
}

impl Handler<IncarnationEnded> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: IncarnationEnded, context: &mut Self::Context) {
        // What the database has not kept of our leases it refuses to settle; what we have not kept of its leases we give
        // back.
        self.intake.incarnation_ended();
        self.advance(context);
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, context: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.drains.push(done);
        if self.config.settings.is_ordered() {
            self.leave_lanes(context);
        }
        self.recall();
        self.settle(context);
        self.finish_drain(context);
        Box::pin(async move {
            // The end of the sender's life is the answer.
            drained.await.unwrap_or_default();
        })
    }
}
