//! Polls for all subscriptions of the process, and takes over from dead processes.
//!
//! Owns: the due timer, the polls · Receives: `MailboxChanged`, `RenewWaiter`, `BeatEnded`, its timers · Sends: `MailboxDue` to the dispatcher whose
//! deliveries are due, and `LogPolled` to one that may have something to read. They claim it, because only they know how many their
//! handler can take · If it dies: restarted; its state is in the tables.

use crate::actors::fault_log::report_fault;
use crate::actors::message::{BeatEnded, LogPolled, MailboxChanged, MailboxDue, RenewWaiter};
use crate::error::{Error, error_chain};
use crate::model::process::ProcessId;
use crate::policy::absence::{Absence, Absences, next_check};
use crate::policy::log_poll::LogPoll;
use crate::store::Store;
use crate::store::claim::Due;
use crate::store::process::DeadProcess;
use crate::store::wait::Polled;
use actix::{
    Actor, ActorFutureExt, AsyncContext, Context, Handler, Recipient, SpawnHandle, Supervised, WrapFuture,
};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A subscription that this process runs.
pub(crate) struct Served {
    /// Its dispatcher.
    pub(crate) mailbox: Recipient<MailboxDue>,
    pub(crate) log: Recipient<LogPolled>,
    /// The newest version of the payload that this process knows.
    pub(crate) version: i32,
}

pub(crate) struct Scheduler {
    store: Store,
    process: ProcessId,
    served: HashMap<i32, Served>,
    log_poll: LogPoll,
    /// The time between two polls of the mailbox, if no message causes one earlier.
    poll_interval: Duration,
    /// The time between two checks for silent processes, and the silence after which a process is dead.
    silence_every: Duration,
    silence_limit: Duration,
    silence_due: Instant,
    absences: Absences,
    next_check: Duration,
    planned: Option<(Instant, SpawnHandle)>,
    polling: bool,
}

impl Scheduler {
    pub(crate) fn new(
        store: Store,
        process: ProcessId,
        served: HashMap<i32, Served>,
        poll_interval: Duration,
        silence_every: Duration,
        silence_limit: Duration,
    ) -> Self {
        Self {
            store,
            process,
            served,
            log_poll: LogPoll::new(poll_interval, Instant::now()),
            poll_interval,
            silence_every,
            silence_limit,
            silence_due: Instant::now(),
            absences: Absences::default(),
            next_check: next_check(2, None, 0.0),
            planned: None,
            polling: false,
        }
    }

    /// Polls the mailbox after this long, or earlier if that is planned already.
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
            actor.poll(context);
        });
        self.planned = Some((at, timer));
    }

    fn poll(&mut self, context: &mut Context<Self>) {
        if self.polling {
            // The poll under way may miss deliveries that another poll would find.
            self.plan(Duration::from_millis(1), context);
            return;
        }
        self.polling = true;
        let store = self.store.clone();
        let (subscriptions, versions): (Vec<i32>, Vec<i32>) =
            self.served.iter().map(|(subscription, served)| (*subscription, served.version)).unzip();
        let process = self.process.get();
        let polling = async move { store.next_due(&subscriptions, &versions, process).await };
        context.spawn(polling.into_actor(self).map(Self::polled));
    }

    fn polled(due: Result<Vec<Due>, Error>, actor: &mut Self, context: &mut Context<Self>) {
        actor.polling = false;
        let mut next = actor.poll_interval;
        match due {
            Ok(due) => {
                for Due { subscription, ordinary, suspect } in due {
                    let is_now = |due: Option<Duration>| due.is_some_and(|wait| wait.is_zero());
                    let message = MailboxDue { ordinary: is_now(ordinary), suspect: is_now(suspect) };
                    if (message.ordinary || message.suspect)
                        && let Some(served) = actor.served.get(&subscription)
                    {
                        served.mailbox.do_send(message);
                    }
                    let waits = [ordinary, suspect].into_iter().flatten().filter(|wait| !wait.is_zero());
                    next = waits.fold(next, Duration::min);
                }
            }
            Err(error) => report_fault!("the mailbox cannot be polled", "", &error),
        }
        actor.plan(next, context);
    }

    fn poll_log_later(&self, wait: Duration, context: &mut Context<Self>) {
        context.run_later(wait, Self::poll_log);
    }

    /// Polls the log for all subscriptions if that is due, in case bells were lost, and then plans the next poll. There is never more
    /// than one at a time.
    fn poll_log(&mut self, context: &mut Context<Self>) {
        let began = Instant::now();
        let Some(renewals) = self.log_poll.begin(began) else {
            return self.poll_log_later(self.log_poll.pause(began), context);
        };
        let (store, process) = (self.store.clone(), self.process.get());
        let subscriptions: Vec<i32> = self.served.keys().copied().collect();
        let polling = async move { (store.poll_log(&subscriptions, process, &renewals).await, renewals) };
        context.spawn(polling.into_actor(self).map(move |(polled, renewals), actor, context| {
            let wait = match polled {
                Ok(Polled { unread, renewed }) => {
                    let unread = actor.log_poll.succeeded(unread, renewals, &renewed);
                    actor.log_polled(&unread, &renewed, began);
                    actor.log_poll.pause(Instant::now())
                }
                Err(error) => {
                    report_fault!("the log cannot be polled", "", &error);
                    actor.log_poll.failed(fastrand::f64(), Instant::now())
                }
            };
            actor.poll_log_later(wait, context);
        }));
    }

    fn log_polled(&self, unread: &[i32], renewed: &[i32], began: Instant) {
        let tell = |subscription, message| {
            if let Some(Served { log, .. }) = self.served.get(subscription) {
                log.do_send(message);
            }
        };
        for subscription in renewed {
            tell(subscription, LogPolled { unread: false, renewed: Some(began) });
        }
        for subscription in unread {
            tell(subscription, LogPolled { unread: true, renewed: None });
        }
    }

    /// Checks for processes without a session, takes over from those that are dead, and then plans the next check. There is
    /// never more than one check at a time.
    fn reclaim(&self, context: &mut Context<Self>) {
        let store = self.store.clone();
        let began = Instant::now();
        let checking = async move { store.absent_processes().await };
        context.spawn(checking.into_actor(self).map(move |checked, actor, context| match checked {
            Ok((mut absent, processes)) => {
                let now = Instant::now();
                // This one lives: its heartbeat is about to open another session.
                absent.retain(|absence| absence.process != actor.process.get());
                let dead = actor.absences.dead(&absent, now - began, now);
                let grace_left = actor.absences.grace_left(now);
                actor.pass_bells_on(&absent, context);
                actor.next_check = next_check(processes, grace_left, fastrand::f64());
                if dead.is_empty() && now < actor.silence_due {
                    return actor.reclaim_later(context);
                }
                actor.silence_due = now + actor.silence_every;
                actor.take_over(dead, context);
            }
            Err(error) => {
                actor.absences.observer_in_trouble();
                report_fault!("the check for dead processes failed", "", &error);
                actor.reclaim_later(context);
            }
        }));
    }

    /// Lets other processes be woken instead of those that are absent, which may be dead. This does not wait for the end of the
    /// grace, because it costs the living nothing.
    fn pass_bells_on(&self, absent: &[Absence], context: &mut Context<Self>) {
        if absent.is_empty() {
            return;
        }
        let (store, absent) =
            (self.store.clone(), absent.iter().map(|absence| absence.process).collect::<Vec<_>>());
        let passing = async move { store.pass_bells_on(&absent).await };
        context.spawn(passing.into_actor(self).map(|passed, _, _| {
            if let Err(error) = passed {
                // The next check tries again.
                tracing::debug!(
                    error = error_chain(&error),
                    "the bells of absent processes are not passed on"
                );
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
            Err(error) => {
                actor.absences.observer_in_trouble();
                report_fault!("the deliveries of dead processes cannot be taken over", "", &error);
            }
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
        self.poll_log_later(self.log_poll.pause(Instant::now()), context);
        self.reclaim(context);
    }
}

impl Supervised for Scheduler {
    fn restarting(&mut self, _: &mut Self::Context) {
        self.planned = None;
        self.polling = false;
        self.absences = Absences::default();
    }
}

impl Handler<MailboxChanged> for Scheduler {
    type Result = ();

    fn handle(&mut self, changed: MailboxChanged, context: &mut Self::Context) {
        self.plan(changed.after, context);
    }
}

impl Handler<RenewWaiter> for Scheduler {
    type Result = ();

    fn handle(&mut self, RenewWaiter { subscription }: RenewWaiter, _: &mut Self::Context) {
        self.log_poll.renew(subscription);
    }
}

impl Handler<BeatEnded> for Scheduler {
    type Result = ();

    fn handle(&mut self, BeatEnded { recorded }: BeatEnded, _: &mut Self::Context) {
        if recorded {
            self.absences.observer_has_beaten();
        } else {
            self.absences.observer_in_trouble();
        }
    }
}
