//! Feeds one subscription's handler: claims what it can take, and settles what it answers.
//!
//! Owns: its leases, its demand, its waiter row · Receives: `Wake`, `MailboxDue`, `Answers`, the handler's deaths, `Drain`
//! · Sends: deliveries to the handler's cell, `LookIntoMailbox` to the scheduler · If it dies: restarted without memory; it
//! gives back whatever the database still has under its name.

mod delivering;
mod intake;
mod settling;
mod suspicion;
mod versions;
mod watch;
mod workplace;

use crate::actors::line::{Assignment, Line};
use crate::actors::message::{
    Answers, CellCommand, Death, Drain, HandlerDied, HandlerRecovered, LifeEnded, LookIntoMailbox,
    MailboxDue, Rejoined, Wake,
};
use crate::actors::thread::Thread;
use crate::error::error_chain;
use crate::observe::{Gauges, HandlerState};
use crate::policy::backoff::Backoff;
use crate::policy::demand::Demand;
use crate::policy::disposition::Limits;
use crate::policy::feed::Feed;
use crate::policy::leases::Leases;
use crate::store::Store;
use actix::{
    Actor, ActorFutureExt, Addr, Arbiter, AsyncContext, Context, Handler, Recipient, ResponseFuture,
    Supervised, WrapFuture,
};
use intake::Intake;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use watch::Row;
use workplace::Workplace;

/// Starts a handler's cell on an arbiter.
pub(crate) type StartCell = Box<dyn Fn(&Arbiter, Line) + Send>;

/// What a dispatcher is told once, and never forgets.
pub(crate) struct Brief {
    pub(crate) store: Store,
    /// The subscription's id.
    pub(crate) subscription: i32,
    pub(crate) channel: &'static str,
    /// The newest version of the payload that the handler can be given.
    pub(crate) version: i32,
    /// Whether the events of one key are handled one after another.
    pub(crate) ordered: bool,
    pub(crate) limits: Limits,
    pub(crate) backoff: Backoff,
    pub(crate) poll_interval: Duration,
    pub(crate) assignment: Assignment,
    pub(crate) start_cell: StartCell,
    pub(crate) scheduler: Recipient<LookIntoMailbox>,
    pub(crate) gauges: Arc<Gauges>,
}

pub(crate) struct Dispatcher {
    brief: Brief,
    workplace: Workplace,
    leases: Leases,
    /// Claimed, and not yet with the handler.
    feed: Feed,
    demand: Demand,
    intake: Intake,
    /// Versions that were too new, and that was said.
    too_new: BTreeSet<i32>,
    /// Whether a look for answers that have lingered is planned.
    settle_planned: bool,
    /// Failed settlements since the last that went through.
    settle_failures: u32,
    /// The handler waits after too many deaths: nothing is claimed for it.
    suspended: bool,
    /// Whoever waits for the drain to end; empty while not draining.
    drains: Vec<oneshot::Sender<()>>,
    /// Drained: nothing is claimed any more.
    stopped: bool,
}

impl Dispatcher {
    /// A dispatcher that will live at `address`, and its handler, on a thread of its own.
    pub(crate) fn new(brief: Brief, thread: Thread, address: &Addr<Self>) -> Self {
        Self {
            workplace: Workplace::open(&brief, thread, address),
            leases: Leases::default(),
            feed: Feed::new(brief.ordered),
            demand: Demand::new(brief.assignment.concurrency),
            intake: Intake::default(),
            too_new: BTreeSet::new(),
            settle_planned: false,
            settle_failures: 0,
            suspended: false,
            drains: Vec::new(),
            stopped: false,
            brief,
        }
    }

    /// The subscription's name.
    fn name(&self) -> &str {
        &self.brief.assignment.subscription
    }

    fn draining(&self) -> bool {
        !self.drains.is_empty()
    }

    /// Gives back what has not begun, and asks the cell to do the same.
    fn recall(&mut self) {
        let waiting = self.feed.recall();
        self.give_back(&waiting);
        if self.workplace.commands.try_send(CellCommand::Recall).is_err() {
            tracing::debug!(
                subscription = self.name(),
                "the handler's cell is gone or busy; nothing is recalled"
            );
        }
    }

    /// Whatever was held is held no more.
    fn forget(&mut self) {
        self.leases = Leases::default();
        self.feed = Feed::new(self.brief.ordered);
    }

    /// Leaves the lanes to the other processes, which take each as soon as nothing is leased of it.
    fn leave_lanes(&self, context: &mut Context<Self>) {
        let (store, subscription, process) = self.speaker();
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
        let held_up = self.intake.is_working() || self.intake.watch.leaving;
        if !self.draining() || !self.leases.is_empty() || held_up {
            return;
        }
        if !matches!(self.intake.watch.row, Row::None) {
            self.leave_watch(context);
            return;
        }
        // A cell that takes no command any more has stopped already: dropping the senders tells it as well.
        drop(self.workplace.commands.try_send(CellCommand::Stop(std::mem::take(&mut self.drains))));
        self.stopped = true;
    }
}

impl Actor for Dispatcher {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        context.run_interval(self.brief.poll_interval, |actor, context| {
            actor.check_on_the_handler(context);
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
        self.intake = Intake::after_doubt();
        self.settle_planned = false;
        self.recall();
    }
}

impl Handler<Wake> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Wake, context: &mut Self::Context) {
        self.intake.log_ripe();
        self.advance(context);
    }
}

impl Handler<MailboxDue> for Dispatcher {
    type Result = ();

    fn handle(&mut self, due: MailboxDue, context: &mut Self::Context) {
        self.intake.mailbox_ripe(due.ordinary, due.suspect);
        self.advance(context);
    }
}

impl Handler<Answers> for Dispatcher {
    type Result = ();

    fn handle(&mut self, answers: Answers, context: &mut Self::Context) {
        self.gave_a_sign_of_life();
        self.demand.observe(answers.answers.len(), answers.busy, answers.peak);
        for answer in answers.answers {
            self.take_answer(answer);
        }
        self.feed_the_handler();
        self.settle(context);
        self.advance(context);
    }
}

impl Handler<HandlerDied> for Dispatcher {
    type Result = ();

    fn handle(&mut self, died: HandlerDied, _: &mut Self::Context) {
        let HandlerDied { death, wait, restarts } = died;
        let (channel, subscription) = (self.brief.channel, self.name());
        if wait.is_zero() {
            tracing::warn!(channel, subscription, why = %death, restarts, "a handler died and restarts");
        } else {
            tracing::error!(channel, subscription, why = %death, restarts, ?wait, "a handler dies too often and must wait");
            self.brief.gauges.is(HandlerState::Quarantined);
        }
        if !wait.is_zero() {
            self.suspended = true;
            let waiting = self.feed.recall();
            self.give_back(&waiting);
        }
        self.brief.gauges.handler_died(match &death {
            Death::Panicked(panic) => Some(panic),
            Death::StoppedItself | Death::Overdue(_) | Death::Blocked(_) => None,
        });
    }
}

impl Handler<HandlerRecovered> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: HandlerRecovered, context: &mut Self::Context) {
        tracing::info!(channel = self.brief.channel, subscription = self.name(), "a handler has recovered");
        self.brief.gauges.is(HandlerState::Running);
        self.suspended = false;
        self.intake.log_ripe();
        self.intake.mailbox_ripe(true, true);
        self.advance(context);
    }
}

impl Handler<Rejoined> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: Rejoined, context: &mut Self::Context) {
        // What was held is in the mailbox now, for whoever claims it. What the handler has begun it will finish; its
        // answers are refused.
        self.forget();
        self.intake.rejoined();
        self.recall();
        self.advance(context);
    }
}

impl Handler<LifeEnded> for Dispatcher {
    type Result = ();

    fn handle(&mut self, _: LifeEnded, context: &mut Self::Context) {
        // What the database has not kept of our leases it refuses to settle; what we have not kept of its leases we give
        // back.
        self.intake.life_ended();
        self.advance(context);
    }
}

impl Handler<Drain> for Dispatcher {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Drain, context: &mut Self::Context) -> Self::Result {
        let (done, drained) = oneshot::channel();
        self.drains.push(done);
        if self.brief.ordered {
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
