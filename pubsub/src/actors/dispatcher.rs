//! Feeds one subscription's handler: claims events for it, and settles its answers.
//!
//! [`Dispatch`] makes every decision. This actor reports events to it, and performs the steps that it chooses.
//!
//! Owns: its leases, its waiter row, the handler's thread · Receives: `Wake`, `LogPolled`, `MailboxDue`, `Answers`, the handler's deaths,
//! `Drain` · Sends: deliveries to the handler's host, `MailboxChanged` and `RenewWaiter` to the scheduler · If it dies: restarted without
//! memory; it returns every lease that the database still has under its process's id.

pub(crate) mod config;
mod effects;
mod handler_thread;

use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::message::{
    Answers, Drain, ExitReason, HandlerDied, HandlerGone, HandlerRecovered, IncarnationEnded, LogPolled,
    MailboxDue, ProcessReregistered, Wake,
};
use crate::model::outcome::Answer;
use crate::model::settings::SubscriptionSettings;
use crate::observe::HandlerState;
use crate::policy::dispatch::Dispatch;
use crate::policy::dispatch::step::{Conclusion, End};
use crate::policy::restart::Restarts;
use actix::{Actor, Addr, AsyncContext, Context, Handler, ResponseFuture, SpawnHandle, Supervised};
use config::DispatcherConfig;
use handler_thread::HandlerThread;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

pub(crate) struct Dispatcher {
    config: DispatcherConfig,
    dispatch: Dispatch,
    handler_thread: HandlerThread,
    /// The ends of the handler's threads, which decide the pause before the next one.
    thread_ends: Restarts,
    /// One sender for each `Drain`. Dropping it is the answer: the drain has ended.
    drains: Vec<oneshot::Sender<()>>,
    /// The time at which the dispatcher asks for the next step.
    timer: Option<(Instant, SpawnHandle)>,
}

impl Dispatcher {
    /// Returns a dispatcher that will have this address, and starts its handler on `thread`.
    pub(crate) fn new(config: DispatcherConfig, thread: ArbiterThread, address: &Addr<Self>) -> Self {
        Self {
            handler_thread: HandlerThread::open(&config, thread, address),
            dispatch: Dispatch::new(Arc::clone(&config.settings), config.subscriptions),
            thread_ends: Restarts::default(),
            drains: Vec::new(),
            timer: None,
            config,
        }
    }

    fn conclude(&mut self, answers: Vec<Answer>) {
        self.dispatch.answered(answers, fastrand::f64, Instant::now());
    }

    /// Writes the ends of deliveries to the program's log, and counts them. An answer that comes too late counts nowhere.
    fn report_conclusions(&mut self) {
        let (channel, subscription) = (self.config.settings.channel, &*self.config.settings.name);
        for Conclusion { token, event, end } in self.dispatch.take_conclusions() {
            match end {
                End::Handled { attempt } => {
                    self.config.gauges.delivery_handled();
                    tracing::debug!(channel, subscription, %event, attempt, "handled");
                }
                End::Returned { attempt } => {
                    tracing::debug!(channel, subscription, %event, attempt, "returned, because it had not started");
                }
                End::TooNew { error } => tracing::debug!(channel, subscription, %event, error, "too new"),
                End::Snoozed { attempt, delay } => {
                    tracing::debug!(channel, subscription, %event, attempt, ?delay, "snoozed");
                }
                End::Failed { attempt, error, delay } => {
                    self.config.gauges.delivery_failed();
                    tracing::warn!(channel, subscription, %event, attempt, error, ?delay, "failed; will be retried");
                }
                End::GivenUp { attempt, error, failed } => {
                    if failed {
                        self.config.gauges.delivery_failed();
                    }
                    self.config.gauges.delivery_given_up();
                    tracing::error!(channel, subscription, %event, attempt, error, "given up: a dead letter");
                }
                End::LeaseLost => {
                    tracing::debug!(channel, subscription, %event, %token, "an answer came after its lease was lost");
                }
            }
        }
    }

    /// Reports a death of the handler in the program's log and in the figures.
    fn report_death(&self, HandlerDied { reason, wait, restarts }: &HandlerDied) {
        let (channel, subscription) = (self.config.settings.channel, &*self.config.settings.name);
        if wait.is_zero() {
            tracing::warn!(channel, subscription, why = %reason, restarts, "a handler died and restarts");
        } else {
            tracing::error!(channel, subscription, why = %reason, restarts, ?wait, "a handler dies too often and must wait");
            self.config.gauges.set_state(HandlerState::Quarantined);
        }
        self.config.gauges.handler_died(match reason {
            ExitReason::Panicked(panic) => Some(panic),
            ExitReason::StoppedItself
            | ExitReason::TimedOut(_)
            | ExitReason::Blocked(_)
            | ExitReason::ThreadEnded => None,
        });
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(self.config.poll_interval, |actor, context| {
            actor.dispatch.poll_interval_passed(Instant::now());
            actor.run(context);
        });
        self.watch_handler(context);
        self.run(context);
    }
}

impl Supervised for Dispatcher {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.timer = None;
        self.dispatch.restarted(Instant::now());
    }
}

impl Handler<Wake> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Wake, context: &mut Self::Context) {
        self.dispatch.woken();
        self.run(context);
    }
}

impl Handler<LogPolled> for Dispatcher {
    type Result = ();

    fn handle(&mut self, LogPolled { unread, renewed }: LogPolled, context: &mut Self::Context) {
        self.dispatch.polled(unread, renewed);
        self.run(context);
    }
}

impl Handler<MailboxDue> for Dispatcher {
    type Result = ();

    fn handle(&mut self, due: MailboxDue, context: &mut Self::Context) {
        self.dispatch.mailbox_due(due.ordinary, due.suspect);
        self.run(context);
    }
}

impl Handler<Answers> for Dispatcher {
    type Result = ();

    fn handle(&mut self, answered: Answers, context: &mut Self::Context) {
        let Answers { answers, unconfirmed, busy, peak } = answered;
        let finished = answers.len() + unconfirmed.len();
        self.dispatch.responded(finished, busy, peak);
        self.conclude(answers);
        if !unconfirmed.is_empty() {
            self.confirm(unconfirmed, context);
        }
        self.run(context);
    }
}

impl Handler<HandlerDied> for Dispatcher {
    type Result = ();

    fn handle(&mut self, died: HandlerDied, context: &mut Self::Context) {
        self.report_death(&died);
        if !died.wait.is_zero() {
            self.dispatch.handler_quarantined(Instant::now());
        }
        self.run(context);
    }
}

impl Handler<HandlerGone> for Dispatcher {
    type Result = ();

    fn handle(&mut self, HandlerGone { thread }: HandlerGone, context: &mut Self::Context) {
        if thread == self.handler_thread.number() {
            self.handler_gone(context);
        }
        self.run(context);
    }
}

impl Handler<HandlerRecovered> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: HandlerRecovered, context: &mut Self::Context) {
        let SubscriptionSettings { channel, name, .. } = &*self.config.settings;
        tracing::info!(channel, subscription = &**name, "a handler has recovered");
        self.config.gauges.set_state(HandlerState::Running);
        self.dispatch.handler_recovered();
        self.run(context);
    }
}

impl Handler<ProcessReregistered> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: ProcessReregistered, context: &mut Self::Context) {
        self.dispatch.reregistered(Instant::now());
        self.run(context);
    }
}

impl Handler<IncarnationEnded> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: IncarnationEnded, context: &mut Self::Context) {
        self.dispatch.incarnation_ended();
        self.run(context);
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, context: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.drains.push(done);
        self.dispatch.drain(Instant::now());
        self.run(context);
        Box::pin(async move {
            // Answered when the sender is dropped.
            drained.await.unwrap_or_default();
        })
    }
}
