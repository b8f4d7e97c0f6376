//! Performs the steps that [`Dispatch`](crate::policy::dispatch::Dispatch) chooses, and reports their results to it.

use super::Dispatcher;
use super::handler_thread::HandlerThread;
use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::fault_log::report_fault;
use crate::actors::handler_link::StartedEvents;
use crate::actors::message::{ExitReason, HandlerDied, HandlerGone, MailboxChanged, RenewWaiter};
use crate::error::{Error, error_chain};
use crate::model::event::{EventId, LeaseToken};
use crate::model::outcome::{Answer, Outcome};
use crate::observe::HandlerState;
use crate::policy::dispatch::step::{ClaimSize, Query, Reply, Step};
use crate::policy::leases::Settlement;
use crate::store::Store;
use crate::store::claim::Claim;
use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use std::time::{Duration, Instant};

impl Dispatcher {
    /// Performs every step that is due, and plans when to ask for the next one.
    pub(super) fn run(&mut self, context: &mut Context<Self>) {
        loop {
            self.report_conclusions();
            match self.dispatch.next(Instant::now()) {
                Step::Wait { until } => return self.wait(until, context),
                step => self.perform(step, context),
            }
        }
    }

    /// Asks for the next step at `until`, or earlier if that is planned already.
    fn wait(&mut self, until: Option<Instant>, context: &mut Context<Self>) {
        let Some(until) = until else { return };
        if let Some((planned, timer)) = self.timer {
            if planned <= until {
                return;
            }
            context.cancel_future(timer);
        }
        let wait = until.saturating_duration_since(Instant::now());
        let timer = context.run_later(wait, |actor, context| {
            actor.timer = None;
            actor.run(context);
        });
        self.timer = Some((until, timer));
    }

    fn perform(&mut self, step: Step, context: &mut Context<Self>) {
        let (channel, subscription) = (self.config.settings.channel, &*self.config.settings.name);
        match step {
            Step::Query(query) => self.ask(query, context),
            Step::Settle(settlement) => self.write(settlement, context),
            Step::RemoveWaiter => self.remove_waiter(context),
            Step::RenewWaiter => {
                self.config.renewals.do_send(RenewWaiter { subscription: self.config.subscription });
            }
            Step::LeaveLanes => self.leave_lanes(context),
            Step::Deliver(events) => {
                if let Err(refused) = self.handler_thread.deliver(events) {
                    self.dispatch.not_delivered(&refused, Instant::now());
                }
            }
            Step::Recall => {
                if !self.handler_thread.recall() {
                    tracing::debug!(subscription, "the handler's host is gone or busy; nothing is recalled");
                }
            }
            Step::Ping => {
                if self.handler_thread.ping() {
                    self.dispatch.pinged(Instant::now());
                }
            }
            Step::StopHandler => self.handler_thread.stop(std::mem::take(&mut self.drains)),
            Step::ReplaceHandler { silent } => self.replace_handler(silent, context),
            Step::MailboxChanged { after } => self.config.scheduler.do_send(MailboxChanged { after }),
            Step::HandlerResponsive => self.config.gauges.set_state(HandlerState::Running),
            Step::HandlerUnresponsive { silent } => {
                self.config.gauges.set_state(HandlerState::Unresponsive);
                tracing::warn!(
                    channel,
                    subscription,
                    ?silent,
                    "a handler does not respond: it blocks its thread"
                );
            }
            Step::VersionTooNew { version, events } => tracing::warn!(
                channel,
                subscription,
                version,
                known = self.config.settings.version,
                events,
                "events of a newer version wait in the mailbox for a process that knows it; reported once"
            ),
            // Performed by `run`.
            Step::Wait { .. } => {}
        }
    }

    /// Returns the subscription's id and this process's id, which every statement takes.
    fn claimant(&self) -> (Store, i32, i64) {
        (self.config.store.clone(), self.config.subscription, self.config.process.get())
    }

    fn ask(&self, query: Query, context: &mut Context<Self>) {
        let ((store, subscription, process), version) = (self.claimant(), self.config.settings.version);
        let known = self.dispatch.known_leases();
        let began = Instant::now();
        let asking = async move {
            let reply = ask(&store, (subscription, process, version), query, known.as_deref()).await;
            (reply, began.elapsed())
        };
        context.spawn(asking.into_actor(self).map(|(reply, took), actor, context| {
            match reply {
                Ok(reply) => actor.dispatch.completed(reply, took, Instant::now()),
                Err(error) => actor.query_failed(&error),
            }
            actor.run(context);
        }));
    }

    fn query_failed(&mut self, error: &Error) {
        let wait = self.dispatch.query_failed(error.is_refusal(), Instant::now(), fastrand::f64());
        let (channel, subscription) = (self.config.settings.channel, &*self.config.settings.name);
        report_fault!("events cannot be claimed", subscription, error, channel, subscription, ?wait);
    }

    fn write(&self, settlement: Settlement, context: &mut Context<Self>) {
        let (store, _, process) = self.claimant();
        let writing = async move {
            let accepted = store
                .settle(process, settlement.token, settlement.acknowledged(), &settlement.dispositions)
                .await;
            (settlement, accepted)
        };
        context.spawn(writing.into_actor(self).map(|(settlement, accepted), actor, context| {
            actor.written(settlement, accepted);
            actor.run(context);
        }));
    }

    fn written(&mut self, settlement: Settlement, accepted: Result<bool, Error>) {
        let (channel, subscription, token) =
            (self.config.settings.channel, &*self.config.settings.name, settlement.token);
        match accepted {
            Ok(accepted) => {
                if self.dispatch.settled(&settlement, accepted, Instant::now()) {
                    tracing::warn!(channel, subscription, %token, "an answer was refused: its lease was taken over");
                }
            }
            Err(error) => {
                let refused = error.refuses_values();
                let wait =
                    self.dispatch.settlement_failed(settlement, refused, Instant::now(), fastrand::f64());
                report_fault!(
                    "answers cannot be settled", subscription, &error, channel, subscription, %token, ?wait
                );
            }
        }
    }

    /// Asks whether the transactions in which handlers settle these deliveries were committed. An `Ok` counts only if so.
    pub(super) fn confirm(&self, unconfirmed: Vec<(LeaseToken, EventId)>, context: &mut Context<Self>) {
        let (store, ..) = self.claimant();
        let asking = async move {
            let settled = store.are_settled(&unconfirmed).await;
            (unconfirmed, settled)
        };
        context.spawn(asking.into_actor(self).map(|(unconfirmed, settled), actor, context| {
            actor.confirmed(&unconfirmed, settled);
            actor.run(context);
        }));
    }

    /// Without an answer of the database the deliveries count as failed. That costs nothing: `pubsub.settle` leaves those alone that
    /// are settled.
    fn confirmed(&mut self, unconfirmed: &[(LeaseToken, EventId)], settled: Result<Vec<bool>, Error>) {
        let settled = settled.map_err(|error| {
            let (channel, subscription) = (self.config.settings.channel, &*self.config.settings.name);
            report_fault!(
                "settlements of handlers cannot be confirmed",
                subscription,
                &error,
                channel,
                subscription
            );
        });
        let answer = |(at, &(token, event)): (usize, &(LeaseToken, EventId))| {
            let is_settled = settled.as_ref().map(|settled| settled.get(at) == Some(&true));
            Answer { token, event, outcome: Outcome::of_transaction(is_settled.ok()) }
        };
        self.conclude(unconfirmed.iter().enumerate().map(answer).collect());
    }

    fn remove_waiter(&self, context: &mut Context<Self>) {
        let (store, subscription, process) = self.claimant();
        let removing = async move { store.stop_waiting(subscription, process).await };
        context.spawn(removing.into_actor(self).map(|removed, actor, context| {
            if let Err(error) = removed {
                // The row expires by itself.
                tracing::debug!(error = error_chain(&error), "a waiter row stays until it expires");
            }
            actor.dispatch.waiter_removed();
            actor.run(context);
        }));
    }

    /// Leaves the lanes to other processes. They take each lane as soon as nothing of it is leased.
    fn leave_lanes(&self, context: &mut Context<Self>) {
        let (store, subscription, process) = self.claimant();
        let leaving = async move { store.stop_running(subscription, process).await };
        context.spawn(leaving.into_actor(self).map(|left, _, _| {
            if let Err(error) = left {
                // The lanes become free when the process leaves.
                tracing::debug!(
                    error = error_chain(&error),
                    "the lanes of a subscription were not left early"
                );
            }
        }));
    }

    /// Abandons a handler that blocks its thread, and starts another handler on a fresh thread.
    fn replace_handler(&mut self, silent: Duration, context: &mut Context<Self>) {
        let Some(started) = self.open_thread(context) else { return };
        let error = format!("timed out: its handler has blocked its thread for {silent:?}");
        self.dispatch.handler_lost(&error, |event| started.contains(event), fastrand::f64, Instant::now());
        let restarts = self.config.gauges.restarts() + 1;
        let reason = ExitReason::Blocked(silent);
        self.report_death(&HandlerDied { reason, wait: Duration::ZERO, restarts });
    }

    /// Starts a handler on a fresh thread. Returns the events that the last one has started and not finished.
    fn open_thread(&mut self, context: &mut Context<Self>) -> Option<StartedEvents> {
        let thread = ArbiterThread::start()
            .inspect_err(|error| {
                tracing::error!(error = error_chain(error), "a handler cannot be replaced");
            })
            .ok()?;
        let opened = HandlerThread::open(&self.config, thread, &context.address());
        let started = opened.replace(&mut self.handler_thread);
        self.watch_handler(context);
        Some(started)
    }

    /// Sends a message to this actor when the handler's host is gone. A message, because the host's last answers come first.
    pub(super) fn watch_handler(&self, context: &mut Context<Self>) {
        let gone = self.handler_thread.gone();
        context.spawn(gone.into_actor(self).map(|thread, _, context| context.notify(HandlerGone { thread })));
    }

    /// Replaces a handler whose host is gone, unless the drain has stopped it. If it happens too often, the next one has to wait.
    pub(super) fn handler_gone(&mut self, context: &mut Context<Self>) {
        let (started, now) = (self.handler_thread.started(), Instant::now());
        let error = "interrupted: its handler's thread has ended";
        if !self.dispatch.handler_lost(error, |event| started.contains(event), fastrand::f64, now) {
            return;
        }
        let wait = self.thread_ends.note(now, fastrand::f64());
        let restarts = self.config.gauges.restarts() + 1;
        self.report_death(&HandlerDied { reason: ExitReason::ThreadEnded, wait, restarts });
        self.dispatch.handler_quarantined(now);
        self.return_handler(wait, context);
    }

    fn return_handler(&mut self, wait: Duration, context: &mut Context<Self>) {
        context.run_later(wait, |actor, context| {
            if actor.open_thread(context).is_none() {
                return actor.return_handler(THREAD_AGAIN, context);
            }
            actor.config.gauges.set_state(HandlerState::Running);
            actor.dispatch.handler_recovered();
            actor.run(context);
        });
    }
}

/// The pause before a thread that could not be started is tried again.
const THREAD_AGAIN: Duration = Duration::from_secs(1);

/// Sends a query to the database. The process knows these leases; it knows all that it has if there is no list.
async fn ask(
    store: &Store,
    (subscription, process, version): (i32, i64, i32),
    query: Query,
    known: Option<&[i64]>,
) -> Result<Reply, Error> {
    let sized = |size: ClaimSize| Claim::new(size.batch, size.start_limit, size.bytes, known);
    match query {
        Query::ReturnUnknownClaims => match known {
            Some(known) => store.return_unknown(subscription, process, known).await.map(Reply::Returned),
            None => Ok(Reply::Returned(0)),
        },
        Query::ClaimSuspects(size) => {
            store.claim_suspects(subscription, process, sized(size), version).await.map(Reply::Claimed)
        }
        Query::ClaimMailbox(size) => {
            store.claim_mailbox(subscription, process, sized(size), version).await.map(Reply::Claimed)
        }
        Query::ClaimLog { size, says_awake: false } => {
            store.claim(subscription, process, sized(size)).await.map(Reply::Claimed)
        }
        Query::ClaimLog { size, says_awake: true } => {
            store.claim_awake(subscription, process, sized(size)).await.map(Reply::Claimed)
        }
        Query::ClaimIfQuiet { size, registers } => {
            if registers {
                store.start_waiting(subscription, process).await?;
            }
            let (quiet, events) = store.claim_if_quiet(subscription, process, sized(size)).await?;
            Ok(Reply::ClaimedIfQuiet { events, quiet })
        }
        Query::Poll { size, renews } => {
            if renews {
                store.start_waiting(subscription, process).await?;
            }
            store.claim_asleep(subscription, process, sized(size)).await.map(Reply::Claimed)
        }
    }
}
