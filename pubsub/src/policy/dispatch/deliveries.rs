//! The deliveries that a subscription holds in this process, from their claim to their settlement.

use super::step::{Conclusion, End, Step};
use crate::model::event::{ClaimedEvent, EventId, LeaseToken, Start};
use crate::model::outcome::Outcome;
use crate::model::settings::SubscriptionSettings;
use crate::policy::disposition::{Action, Disposition, decide, starts_again};
use crate::policy::leases::{LINGER, Leases, Settlement};
use crate::policy::ready_queue::ReadyQueue;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// The deliveries that are claimed and not settled.
#[derive(Debug)]
pub(super) struct Deliveries {
    settings: Arc<SubscriptionSettings>,
    leases: Leases,
    /// The events that are claimed and not yet with the handler.
    ready: ReadyQueue,
    /// The versions that were too new and are reported already.
    too_new: BTreeSet<i32>,
    /// The planned settlement of answers that wait for more of their lease.
    settle_at: Option<Instant>,
    conclusions: Vec<Conclusion>,
}

impl Deliveries {
    pub(super) fn new(settings: Arc<SubscriptionSettings>) -> Self {
        Self {
            leases: Leases::default(),
            ready: ReadyQueue::new(settings.is_ordered()),
            too_new: BTreeSet::new(),
            settle_at: None,
            conclusions: Vec::new(),
            settings,
        }
    }

    /// Forgets all leases and all events that wait.
    pub(super) fn forget(&mut self) {
        self.leases = Leases::default();
        self.ready = ReadyQueue::new(self.settings.is_ordered());
    }

    /// Notes the events of a claim under their leases. With `take` they wait for the handler; without it they are returned. The
    /// result is the number of those that the handler cannot get.
    pub(super) fn claimed(
        &mut self,
        events: Vec<ClaimedEvent>,
        start_limit: usize,
        from_mailbox: bool,
        take: bool,
        now: Instant,
        steps: &mut VecDeque<Step>,
    ) -> usize {
        for event in &events {
            let start = Start { attempt: event.attempt, panics: event.panics };
            self.leases.hold(event.token, event.id, start, event.bytes());
        }
        if !take {
            self.give_back(&events, now);
            return 0;
        }
        let known = self.settings.version;
        let refused = events.iter().filter(|event| refusal(event, known).is_some()).count();
        if refused == 0 {
            self.line_up(events, start_limit, from_mailbox, now);
            return 0;
        }
        // In order: the events before one that is refused go on, and those behind it, of its key, go to the mailbox behind it.
        let too_new: Vec<i32> = events.iter().map(|event| event.version).filter(|&v| v > known).collect();
        for event in events {
            if let Some(outcome) = refusal(&event, known) {
                self.ready.returned(&event);
                self.conclude(event.token, event.id, outcome, NO_JITTER, now);
            } else {
                self.line_up(vec![event], start_limit, from_mailbox, now);
            }
        }
        self.report_too_new(&too_new, steps);
        refused
    }

    fn line_up(&mut self, events: Vec<ClaimedEvent>, start_limit: usize, from_mailbox: bool, now: Instant) {
        let parked = self.ready.push(events, start_limit, from_mailbox);
        self.give_back(&parked, now);
    }

    /// Reports each version once: while a new release is rolled out there may be many events of it.
    fn report_too_new(&mut self, versions: &[i32], steps: &mut VecDeque<Step>) {
        for &version in versions {
            if self.too_new.insert(version) {
                let events = versions.iter().filter(|&&other| other == version).count();
                steps.push_back(Step::VersionTooNew { version, events });
            }
        }
    }

    /// Hands the events that may start to the handler.
    pub(super) fn release(&mut self, steps: &mut VecDeque<Step>) {
        let with_the_handler = self.leases.outstanding() - self.ready.len();
        let events = self.ready.release(with_the_handler + self.leases.unsettled());
        if !events.is_empty() {
            steps.push_back(Step::Deliver(events));
        }
    }

    /// Returns the events that wait for the handler to the mailbox.
    pub(super) fn recall(&mut self, now: Instant) {
        let waiting = self.ready.recall();
        self.give_back(&waiting, now);
    }

    /// Returns events that have not started to the mailbox.
    pub(super) fn give_back(&mut self, events: &[ClaimedEvent], now: Instant) {
        for event in events {
            self.ready.returned(event);
            self.conclude(event.token, event.id, Outcome::Returned, NO_JITTER, now);
        }
    }

    /// Decides what happens to a delivery, and plans its settlement. `random` is uniform in `0.0..1.0`.
    pub(super) fn conclude(
        &mut self,
        token: LeaseToken,
        event: EventId,
        outcome: Outcome,
        random: f64,
        now: Instant,
    ) {
        let Some(start) = self.leases.take(token, event) else {
            self.ready.ended(token, event, true);
            self.conclusions.push(Conclusion { token, event, end: End::LeaseLost });
            return;
        };
        if outcome == Outcome::Settled {
            self.leases.name_acknowledged(token);
        }
        let decided = decide(event, start.attempt, outcome, &self.settings.backoff, random);
        let end = self.end(start, decided.as_ref());
        self.conclusions.push(Conclusion { token, event, end });
        let done = decided.is_none();
        self.leases.answered(token, event, decided, now);
        let behind = self.ready.ended(token, event, done);
        self.give_back(&behind, now);
    }

    fn end(&self, start: Start, decided: Option<&Disposition>) -> End {
        let attempt = start.attempt;
        let Some(Disposition { action, delay, error, .. }) = decided else { return End::Handled { attempt } };
        let (delay, error) = (*delay, error.clone().unwrap_or_default());
        match action {
            Action::Return => End::Returned { attempt },
            Action::TooNew => End::TooNew { error },
            Action::Snooze => End::Snoozed { attempt, delay },
            &action if starts_again(action, start, &self.settings) => End::Failed { attempt, error, delay },
            action => {
                let failed = matches!(action, Action::Retry | Action::Panic);
                End::GivenUp { attempt, error, failed }
            }
        }
    }

    /// Settles the answers that are due, and plans the next settlement while others wait for more of their lease. They do not
    /// wait if the handler gets more to do once they are settled.
    pub(super) fn settle(&mut self, now: Instant, steps: &mut VecDeque<Step>) {
        let waiting = self.ready.len();
        if waiting > 0 && waiting == self.leases.outstanding() {
            self.leases.hurry(now);
        }
        steps.extend(self.leases.settlements(now).into_iter().map(Step::Settle));
        if self.leases.lingers() {
            self.settle_at.get_or_insert(now + LINGER);
        }
    }

    /// Settles, if it was planned for now.
    pub(super) fn settle_as_planned(&mut self, now: Instant, steps: &mut VecDeque<Step>) {
        if self.settle_at.is_some_and(|at| now >= at) {
            self.settle_at = None;
            self.settle(now, steps);
        }
    }

    /// Settles at this time at the latest.
    pub(super) fn plan_settlement(&mut self, at: Instant) {
        self.settle_at = Some(self.settle_at.map_or(at, |planned| planned.min(at)));
    }

    /// Forgets the planned settlement.
    pub(super) fn cancel_plan(&mut self) {
        self.settle_at = None;
    }

    /// Notes the answer to a settlement. Returns whether a refusal of it would be news, and whether deliveries of the mailbox
    /// may have become due.
    pub(super) fn settled(
        &mut self,
        settlement: &Settlement,
        accepted: bool,
        claiming: bool,
    ) -> (bool, bool) {
        let news = self.leases.settled(settlement, accepted);
        if !accepted {
            self.ready.lost(settlement.token);
        }
        let over = !accepted || settlement.is_whole();
        (news, self.ready.settled(settlement, over, claiming))
    }

    /// Writes a settlement again, because its result is unknown.
    pub(super) fn settlement_failed(&mut self, settlement: Settlement, now: Instant) {
        self.leases.failed(settlement, now);
    }

    /// Notes that the query under way has ended and its events were taken in.
    pub(super) fn query_over(&mut self) {
        self.ready.claim_over();
    }

    pub(super) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Returns the conclusions since the last call.
    pub(super) fn take_conclusions(&mut self) -> impl Iterator<Item = Conclusion> {
        self.conclusions.drain(..)
    }

    /// Returns the time at which an answer has waited long enough for the rest of its lease.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.settle_at
    }
}

/// Returns the outcome of an event that the handler does not get: its row cannot be read, or it is newer than `known`.
fn refusal(event: &ClaimedEvent, known: i32) -> Option<Outcome> {
    let too_new = || (event.version > known).then_some(Outcome::TooNew { version: event.version, known });
    let unreadable = event.unreadable.clone().map(|error| Outcome::Undecodable { error });
    unreadable.or_else(too_new)
}

/// A random number for outcomes without a backoff, which do not use it.
const NO_JITTER: f64 = 0.5;
