//! Decides everything that a dispatcher does.
//!
//! [`Dispatch`] is a state machine. The dispatcher reports events, asks [`next`](Dispatch::next) for the next [`Step`],
//! performs the step, and reports its result. After each report, and at the time that [`Step::Wait`] names, it calls `next`
//! until `next` returns [`Step::Wait`].

mod deliveries;
mod intake;
pub(crate) mod step;
mod suspects;
mod troubles;
mod unknown_claims;
pub(crate) mod waiter;
mod watchdog;

#[cfg(test)]
mod database;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod simulation;

use crate::model::backoff::Backoff;
use crate::model::event::{ClaimedEvent, EventId};
use crate::model::outcome::{Answer, Outcome};
use crate::model::settings::SubscriptionSettings;
use crate::policy::leases::Settlement;
use crate::policy::prefetch::{MAX_OUTSTANDING, Prefetch};
use deliveries::Deliveries;
use intake::{Facts, Intake};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use step::{Conclusion, Query, Reply, Step};
use watchdog::Watchdog;

/// The pauses between attempts to settle while the database fails.
const SETTLE_BACKOFF: Backoff =
    Backoff::exponential(Duration::from_millis(50)).max(Duration::from_secs(5)).jitter(0.5);

/// The number of answers that may wait for the database. Beyond it, nothing is claimed.
const MAX_UNSETTLED: usize = 4 * MAX_OUTSTANDING;

/// The decisions of one subscription's dispatcher.
#[derive(Debug)]
pub(crate) struct Dispatch {
    settings: Arc<SubscriptionSettings>,
    /// The number of subscriptions of this process.
    subscriptions: usize,
    steps: VecDeque<Step>,
    intake: Intake,
    deliveries: Deliveries,
    prefetch: Prefetch,
    watchdog: Watchdog,
    /// Failed settlements since the last that succeeded.
    settle_failures: u32,
    /// Whether the handler waits after too many deaths. Nothing is claimed for it then.
    quarantined: bool,
    /// Whether the lanes are to be left to other processes, once no query is under way that would take them again.
    leaves_lanes: bool,
    draining: bool,
    /// Whether a drain has started. Nothing is claimed from then on.
    stopped: bool,
}

impl Dispatch {
    /// Returns the decisions for one subscription, of this many in the process.
    pub(crate) fn new(settings: Arc<SubscriptionSettings>, subscriptions: usize) -> Self {
        Self {
            steps: VecDeque::new(),
            intake: Intake::new(&settings, subscriptions),
            deliveries: Deliveries::new(Arc::clone(&settings)),
            prefetch: Prefetch::new(settings.concurrency),
            watchdog: Watchdog::default(),
            settle_failures: 0,
            quarantined: false,
            leaves_lanes: false,
            draining: false,
            stopped: false,
            subscriptions,
            settings,
        }
    }

    /// Returns the next step, which counts as started from then on.
    pub(crate) fn next(&mut self, now: Instant) -> Step {
        if self.steps.is_empty() {
            self.decide(now);
        }
        self.steps.pop_front().unwrap_or_else(|| Step::Wait { until: self.wake_at(now) })
    }

    fn decide(&mut self, now: Instant) {
        self.deliveries.settle_as_planned(now, &mut self.steps);
        if self.leaves_lanes && !self.intake.is_asking() {
            self.leaves_lanes = false;
            self.steps.push_back(Step::LeaveLanes);
        }
        if self.stopped || !self.intake.may_begin(now) {
            return;
        }
        let holds_nothing = self.deliveries.leases().is_empty();
        if !self.draining {
            let facts = Facts {
                room: self.room(),
                held_bytes: self.deliveries.leases().bytes(),
                start_limit: self.prefetch.start_limit(),
                holds_nothing,
            };
            self.intake.choose(facts, now, &mut self.steps);
        } else if holds_nothing && self.intake.leave(&mut self.steps) {
            self.stopped = true;
            self.steps.push_back(Step::StopHandler);
        }
    }

    /// Returns how many events may be claimed now.
    fn room(&self) -> usize {
        let leases = self.deliveries.leases();
        if self.quarantined || self.watchdog.is_unresponsive() || leases.unsettled() > MAX_UNSETTLED {
            return 0;
        }
        self.prefetch.claim_size(leases.outstanding())
    }

    /// Returns the time of the next decision, if no report comes before. A time that has passed is left out, because then a
    /// report must come first.
    fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.intake.wake_at().chain(self.deliveries.wake_at()).filter(|&at| at > now).min()
    }

    /// Reports the bell: the log may have events.
    pub(crate) fn woken(&mut self) {
        self.intake.log_ready();
    }

    /// Reports that the mailbox has deliveries that are due.
    pub(crate) fn mailbox_due(&mut self, ordinary: bool, suspect: bool) {
        self.intake.mailbox_ready(ordinary, suspect);
    }

    /// Reports what the process's poll of the log has found: whether there may be something to read, and when the statement began
    /// that has renewed the waiter row, if it did.
    pub(crate) fn polled(&mut self, unread: bool, renewed: Option<Instant>) {
        self.intake.polled(unread, renewed);
    }

    /// Reports that the poll interval has passed once more.
    pub(crate) fn poll_interval_passed(&mut self, now: Instant) {
        let at_work = self.deliveries.leases().outstanding() > 0;
        let warning = self.watchdog.check(at_work, self.settings.timeout, now);
        self.leaves_lanes |=
            self.settings.is_ordered() && matches!(warning, Some(Step::HandlerUnresponsive { .. }));
        self.steps.extend(warning);
        self.deliveries.settle(now, &mut self.steps);
    }

    /// Reports the answer to the query under way, and the time that it took.
    pub(crate) fn completed(&mut self, reply: Reply, took: Duration, now: Instant) {
        let Some(query) = self.intake.completed(&reply, took, now) else { return };
        if matches!(reply, Reply::Returned(1..)) {
            // Their lanes were left alone.
            self.intake.log_ready();
        }
        if matches!(query, Query::ClaimLog { .. }) {
            self.prefetch.observe_claim(took);
        }
        if let Reply::Claimed(events) | Reply::ClaimedIfQuiet { events, .. } = reply {
            let take = !self.draining && !self.quarantined;
            let (limit, from_mailbox) = (query.start_limit(), query.is_from_mailbox());
            let claimed = events.len();
            let refused = self.deliveries.claimed(events, limit, from_mailbox, take, now, &mut self.steps);
            self.prefetch.observe_refused(claimed, refused);
            if take {
                self.deliveries.release(&mut self.steps);
            }
        }
        self.deliveries.query_over();
    }

    /// Reports that the query under way has failed, and whether the database has refused it, so that it took no effect. Returns
    /// the pause before the next one of its kind.
    pub(crate) fn query_failed(&mut self, refused: bool, now: Instant, random: f64) -> Duration {
        self.intake.failed(refused, now, random)
    }

    /// Reports that the waiter row is removed, or expires by itself.
    pub(crate) fn waiter_removed(&mut self) {
        self.intake.waiter_removed();
    }

    /// Reports that the handler's host has responded: how many deliveries the handler has finished, the time that it took for them,
    /// and the most that ever ran at once.
    pub(crate) fn responded(&mut self, finished: usize, busy: Duration, peak: usize) {
        if self.watchdog.responded() {
            self.steps.push_back(Step::HandlerResponsive);
            self.expect_work();
        }
        self.prefetch.observe(finished, busy, peak);
    }

    /// Reports the answers to deliveries. `random` is uniform in `0.0..1.0`, and drawn for each answer.
    pub(crate) fn answered(&mut self, answers: Vec<Answer>, mut random: impl FnMut() -> f64, now: Instant) {
        for Answer { token, event, outcome } in answers {
            self.deliveries.conclude(token, event, outcome, random(), now);
        }
        self.deliveries.release(&mut self.steps);
        self.deliveries.settle(now, &mut self.steps);
    }

    /// Returns the conclusions since the last call.
    pub(crate) fn take_conclusions(&mut self) -> impl Iterator<Item = Conclusion> {
        self.deliveries.take_conclusions()
    }

    /// Reports the answer to a settlement. Returns whether it was refused because its lease was taken over.
    pub(crate) fn settled(&mut self, settlement: &Settlement, accepted: bool, now: Instant) -> bool {
        self.settle_failures = 0;
        let (news, mailbox_ready) = self.deliveries.settled(settlement, accepted, self.intake.is_busy());
        if mailbox_ready {
            self.intake.mailbox_ready(true, true);
        }
        if let Some(after) = settlement.next_due() {
            self.steps.push_back(Step::MailboxChanged { after });
        }
        self.deliveries.release(&mut self.steps);
        self.deliveries.settle(now, &mut self.steps);
        !accepted && news
    }

    /// Reports that a settlement has failed, so that its result is unknown. Returns the pause before the next try.
    /// `refused` says that the database does not accept its values.
    pub(crate) fn settlement_failed(
        &mut self,
        settlement: Settlement,
        refused: bool,
        now: Instant,
        random: f64,
    ) -> Duration {
        self.settle_failures = self.settle_failures.saturating_add(1);
        let settlement = if refused { settlement.with_poorer_texts() } else { settlement };
        self.deliveries.settlement_failed(settlement, now);
        let wait = SETTLE_BACKOFF.delay(self.settle_failures, random);
        self.deliveries.plan_settlement(now + wait);
        wait
    }

    /// Reports that the handler's host did not take these events, because its arbiter has ended.
    pub(crate) fn not_delivered(&mut self, events: &[ClaimedEvent], now: Instant) {
        self.deliveries.give_back(events, now);
    }

    /// Reports that the handler's host was asked to respond.
    pub(crate) fn pinged(&mut self, now: Instant) {
        self.watchdog.asked(now);
    }

    /// Reports that the handler has blocked its thread, or that its thread has ended, and that another handler replaces it. The
    /// deliveries that it has started have failed with this error, and the others are returned. Its late answers are refused.
    /// Returns false if the drain had stopped it.
    pub(crate) fn handler_lost(
        &mut self,
        error: &str,
        has_started: impl Fn(EventId) -> bool,
        mut random: impl FnMut() -> f64,
        now: Instant,
    ) -> bool {
        if self.stopped {
            return false;
        }
        self.watchdog = Watchdog::default();
        self.deliveries.recall(now);
        for (token, event) in self.deliveries.leases().unanswered() {
            let outcome = if has_started(event) {
                Outcome::Failed { error: error.to_owned(), after: None }
            } else {
                Outcome::Returned
            };
            self.deliveries.conclude(token, event, outcome, random(), now);
        }
        self.deliveries.settle(now, &mut self.steps);
        true
    }

    /// Reports that the handler has died too often and waits before it starts again.
    pub(crate) fn handler_quarantined(&mut self, now: Instant) {
        self.quarantined = true;
        self.leaves_lanes = self.settings.is_ordered();
        self.deliveries.recall(now);
    }

    /// Reports that the handler has started again.
    pub(crate) fn handler_recovered(&mut self) {
        self.quarantined = false;
        self.leaves_lanes = false;
        self.expect_work();
    }

    fn expect_work(&mut self) {
        self.intake.log_ready();
        self.intake.mailbox_ready(true, true);
    }

    /// Reports that the process was declared dead and has a new id. Its deliveries are in the mailbox now, for any process to
    /// claim. The handler finishes the deliveries that it has started, and its answers are refused.
    pub(crate) fn reregistered(&mut self, now: Instant) {
        self.deliveries.forget();
        self.intake.reregistered();
        self.recall(now);
    }

    /// Reports that the server may have lost the last commits. It refuses to settle the leases that it has lost. The leases
    /// that it has kept and that this process does not know are returned.
    pub(crate) fn incarnation_ended(&mut self) {
        self.intake.incarnation_ended();
    }

    /// Returns the state of a dispatcher that has lost its memory. Leases that the database still has under its process's id
    /// are returned.
    pub(crate) fn restarted(&mut self, now: Instant) {
        self.steps.clear();
        self.deliveries.forget();
        self.deliveries.cancel_plan();
        self.intake = Intake::after_restart(&self.settings, self.subscriptions);
        self.recall(now);
    }

    /// Claims nothing more, lets the handler finish the deliveries that it has started, returns the others, and then stops the
    /// handler.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.draining = true;
        // A drain that is requested after another one has ended must end as well.
        self.stopped = false;
        if self.settings.is_ordered() {
            self.steps.push_back(Step::LeaveLanes);
        }
        self.recall(now);
        self.deliveries.settle(now, &mut self.steps);
    }

    fn recall(&mut self, now: Instant) {
        self.deliveries.recall(now);
        self.steps.push_back(Step::Recall);
    }

    /// Returns the tokens of all leases that this process knows and that the database must keep, if the database may have others.
    pub(crate) fn known_leases(&self) -> Option<Vec<i64>> {
        self.intake.unknown_claims.may_exist().then(|| self.deliveries.leases().tokens())
    }
}
