//! Owns the retry mailbox's time: who is due when, and which processes are dead.
//!
//! Owns: the due timer · Receives: `MailboxChanged`, its timers · Sends: `MailboxDue` to the dispatcher whose deliveries
//! are due; the dispatcher claims them, for only it knows how many its handler can take · If it dies: restarted; its state
//! is in the tables.

use crate::actors::message::{MailboxChanged, MailboxDue};
use crate::error::{Error, error_chain};
use crate::model::process::ProcessId;
use crate::policy::absence::{Absences, next_check};
use crate::store::Store;
use crate::store::claim::Due;
use crate::store::process::DeadProcess;
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The mailbox of a subscription that this process runs.
pub(crate) struct Mailbox {
    pub(crate) dispatcher: Recipient<MailboxDue>,
    /// The newest version of the payload that this process knows.
    pub(crate) version: i32,
}

pub(crate) struct Scheduler {
    store: Store,
    process: ProcessId,
    dispatchers: HashMap<i32, Mailbox>,
    /// How often to look without being told.
    poll_interval: Duration,
    /// How often to look for silent processes, and how long a silence makes a dead one.
    silence_every: Duration,
    silence_limit: Duration,
    silence_due: Instant,
    absences: Absences,
    next_check: Duration,
    planned: Option<(Instant, SpawnHandle)>,
    looking: bool,
}

impl Scheduler {
    pub(crate) fn new(
        store: Store,
        process: ProcessId,
        dispatchers: HashMap<i32, Mailbox>,
        poll_interval: Duration,
        silence_every: Duration,
        silence_limit: Duration,
    ) -> Self {
        Self {
            store,
            process,
            dispatchers,
            poll_interval,
            silence_every,
            silence_limit,
            silence_due: Instant::now(),
            absences: Absences::default(),
            next_check: next_check(1, false, 0.0),
            planned: None,
            looking: false,
        }
    }

    /// Looks after this long, or earlier if that is planned already.
    fn plan(&mut self, after: Duration, context: &mut Context<Self>) {
        let at = Instant::now() + after.min(self.poll_interval);
        if let Some((planned, timer)) = self.planned {
            if planned <= at {
                return;
            }
            context.cancel_future(timer);
        }
        let timer = context.run_later(at.saturating_duration_since(Instant::now()), |actor, context| {
            actor.planned = None;
            actor.look(context);
        });
        self.planned = Some((at, timer));
    }

    fn look(&mut self, context: &mut Context<Self>) {
        if self.looking {
            // What this look would find, the one under way may have missed.
            self.plan(Duration::from_millis(1), context);
            return;
        }
        self.looking = true;
        let store = self.store.clone();
        let (subscriptions, versions): (Vec<i32>, Vec<i32>) =
            self.dispatchers.iter().map(|(subscription, mailbox)| (*subscription, mailbox.version)).unzip();
        let process = self.process.get();
        let looking = async move { store.next_due(&subscriptions, &versions, process).await };
        context.spawn(looking.into_actor(self).map(Self::looked));
    }

    fn looked(due: Result<Vec<Due>, Error>, actor: &mut Self, context: &mut Context<Self>) {
        actor.looking = false;
        let mut next = actor.poll_interval;
        match due {
            Ok(due) => {
                for Due { subscription, ordinary, suspect } in due {
                    let is_now = |due: Option<Duration>| due.is_some_and(|wait| wait.is_zero());
                    let message = MailboxDue { ordinary: is_now(ordinary), suspect: is_now(suspect) };
                    if (message.ordinary || message.suspect)
                        && let Some(mailbox) = actor.dispatchers.get(&subscription)
                    {
                        mailbox.dispatcher.do_send(message);
                    }
                    let waits = [ordinary, suspect].into_iter().flatten().filter(|wait| !wait.is_zero());
                    next = waits.fold(next, Duration::min);
                }
            }
            Err(error) => tracing::warn!(error = error_chain(&error), "cannot look into the mailbox"),
        }
        actor.plan(next, context);
    }

    /// Looks for processes whose session is gone, and takes over from the dead; then plans the next time: never two at
    /// once.
    fn reclaim(&self, context: &mut Context<Self>) {
        let store = self.store.clone();
        let looking = async move { store.absent_processes().await };
        context.spawn(looking.into_actor(self).map(|looked, actor, context| match looked {
            Ok((absent, processes)) => {
                let now = Instant::now();
                actor.next_check = next_check(processes, !absent.is_empty(), fastrand::f64());
                let dead = actor.absences.dead(&absent, now);
                if dead.is_empty() && now < actor.silence_due {
                    return actor.reclaim_later(context);
                }
                actor.silence_due = now + actor.silence_every;
                actor.take_over(dead, context);
            }
            Err(error) => {
                tracing::warn!(error = error_chain(&error), "cannot look for dead processes");
                actor.reclaim_later(context);
            }
        }));
    }

    fn take_over(&self, absent: Vec<i64>, context: &mut Context<Self>) {
        let (store, silence) = (self.store.clone(), self.silence_limit);
        let reclaiming = async move { store.reclaim(silence, &absent).await };
        context.spawn(reclaiming.into_actor(self).map(Self::reclaimed));
    }

    fn reclaimed(dead: Result<Vec<DeadProcess>, Error>, actor: &mut Self, context: &mut Context<Self>) {
        match dead {
            Ok(dead) => {
                for DeadProcess { process, host, os_pid, silent_for, orphans } in &dead {
                    tracing::warn!(
                        process,
                        host,
                        os_pid,
                        ?silent_for,
                        orphans,
                        "a process died; its deliveries are due again"
                    );
                }
                if !dead.is_empty() {
                    actor.plan(Duration::ZERO, context);
                }
            }
            Err(error) => tracing::warn!(error = error_chain(&error), "cannot take over from dead processes"),
        }
        actor.reclaim_later(context);
    }

    fn reclaim_later(&self, context: &mut Context<Self>) {
        context.run_later(self.next_check, |actor, context| actor.reclaim(context));
    }
}

impl Actor for Scheduler {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.plan(Duration::ZERO, context);
        self.reclaim(context);
    }
}

impl Supervised for Scheduler {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.planned = None;
        self.looking = false;
        self.absences = Absences::default();
    }
}

impl Handler<MailboxChanged> for Scheduler {
    type Result = ();

    fn handle(&mut self, look: MailboxChanged, context: &mut Self::Context) {
        self.plan(look.after, context);
    }
}
