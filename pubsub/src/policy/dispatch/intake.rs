//! Chooses the next query to the database. There is one query at a time, and no claim without room for its events.

use super::step::{ClaimSize, Query, Reply, Step};
use super::suspects::{Suspects, Turn};
use super::troubles::{Kind, Troubles};
use super::unknown_claims::UnknownClaims;
use super::waiter::{Row, WAITER_TTL, Waiter};
use crate::model::event::ClaimedEvent;
use crate::model::settings::SubscriptionSettings;
use crate::policy::claim_limit::ClaimLimit;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time for which events gather after a claim that found some, but not a full batch. If publishers are busy, one more claim
/// of this process costs less than a notification for each of their events.
pub(super) const GATHER: Duration = Duration::from_millis(2);

/// A claim may have been cut short by its bytes if it has at least this part of them: the database takes a small event for up to
/// so many times its size.
const MEASURED: usize = 8;

/// The first and the longest pause between two polls while a publisher is at work. Each is about as long as all before it, so an
/// event waits no longer than its publisher has taken. The longest bounds the polls beside a publisher that is idle in its
/// transaction.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(400);

/// The state of the intake of events.
#[derive(Debug)]
pub(super) struct Intake {
    /// The query under way.
    query: Option<Query>,
    /// The earliest time of the next query, while events gather or after the database has failed.
    resume_at: Option<Instant>,
    /// Whether the log may have events that were not claimed. A claim clears it when it starts, not when it ends, because a
    /// wake-up during the query must cause one more claim. Otherwise its event would wait for the poll.
    log_ready: bool,
    /// Whether the mailbox may have due deliveries.
    mailbox_ready: bool,
    /// Whether the last claim was from the mailbox.
    mailbox_was_last: bool,
    suspects: Suspects,
    waiter: Waiter,
    /// The pauses of repeated polls, while a publisher is at work that may not have seen the waiter row, and so may not ring.
    repolling: Option<Repolling>,
    /// Whether the process's poll has found that the log may have something to read.
    poll_found: bool,
    pub(super) unknown_claims: UnknownClaims,
    troubles: Troubles,
    /// Whether a claim of suspects was refused, and is due again when it has rested.
    suspects_again: bool,
    limit: ClaimLimit,
}

/// The pauses between polls.
#[derive(Debug, Clone, Copy)]
struct Repolling {
    next_at: Instant,
    next_pause: Duration,
}

/// The facts that decide the next query together with the intake's own state.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// How many events may be claimed.
    pub(super) room: usize,
    /// The bytes of the events that are held.
    pub(super) held_bytes: usize,
    /// See [`ClaimSize::start_limit`].
    pub(super) start_limit: usize,
    /// Whether this process holds nothing of the subscription.
    pub(super) holds_nothing: bool,
}

impl Intake {
    /// Returns the intake of one subscription, of this many in the process.
    pub(super) fn new(settings: &SubscriptionSettings, subscriptions: usize) -> Self {
        Self {
            query: None,
            resume_at: None,
            log_ready: true,
            mailbox_ready: true,
            mailbox_was_last: false,
            suspects: Suspects::new(settings, subscriptions > 1),
            waiter: Waiter::default(),
            repolling: None,
            poll_found: false,
            unknown_claims: UnknownClaims::default(),
            troubles: Troubles::default(),
            suspects_again: false,
            limit: ClaimLimit::new(subscriptions),
        }
    }

    /// Returns the intake of a dispatcher that has lost its memory.
    pub(super) fn after_restart(settings: &SubscriptionSettings, subscriptions: usize) -> Self {
        Self { unknown_claims: UnknownClaims::expected(), ..Self::new(settings, subscriptions) }
    }

    /// Notes that the process has a new id. Its waiter row has the old one.
    pub(super) fn reregistered(&mut self) {
        self.waiter.lost();
        self.repolling = None;
        self.log_ready = true;
        self.mailbox_ready = true;
        self.suspects.reregistered();
    }

    /// Notes that the database may have lost the last commits, and the waiter row with them.
    pub(super) fn incarnation_ended(&mut self) {
        self.waiter.lost();
        self.repolling = None;
        self.unknown_claims = UnknownClaims::expected();
        self.log_ready = true;
        self.mailbox_ready = true;
    }

    pub(super) fn log_ready(&mut self) {
        self.log_ready = true;
    }

    pub(super) fn mailbox_ready(&mut self, ordinary: bool, suspect: bool) {
        self.mailbox_ready |= ordinary;
        if suspect {
            self.suspects.expect();
        }
    }

    /// Notes what the process's poll has found: whether the log may have something to read, and when the statement began that
    /// has renewed the waiter row, if it did.
    pub(super) fn polled(&mut self, unread: bool, renewed: Option<Instant>) {
        self.poll_found |= unread;
        if let Some(began) = renewed {
            self.waiter.renewed(began);
        }
    }

    /// Whether a query is under way.
    pub(super) fn is_asking(&self) -> bool {
        self.query.is_some()
    }

    /// Whether a query is under way, or the next one has to wait.
    pub(super) fn is_busy(&self) -> bool {
        self.query.is_some() || self.resume_at.is_some()
    }

    /// Whether the next query may start.
    pub(super) fn may_begin(&mut self, now: Instant) -> bool {
        self.resume_at = self.resume_at.filter(|&at| now < at);
        !self.is_busy()
    }

    /// Chooses the next query, if there is one and there is room for its events.
    pub(super) fn choose(&mut self, facts: Facts, now: Instant, steps: &mut VecDeque<Step>) {
        let (batch, bytes) = self.limit.size(facts.room, facts.held_bytes);
        let size = ClaimSize { batch, bytes, start_limit: facts.start_limit };
        if batch == 0 {
            return self.cannot_poll(now, steps);
        }
        if self.unknown_claims.are_due(now) {
            if self.troubles.rests(Kind::UnknownClaims, now) {
                return self.cannot_poll(now, steps);
            }
            return self.begin(Query::ReturnUnknownClaims, steps);
        }
        if self.suspects_again && !self.troubles.rests(Kind::Suspects, now) {
            self.suspects_again = false;
            self.suspects.expect();
        }
        let suspects = self.suspects.turn(facts.holds_nothing, now);
        steps.extend(self.suspects.take_ended());
        if suspects != Turn::None {
            if suspects == Turn::Claim {
                self.begin(Query::ClaimSuspects(size), steps);
            }
            // Nothing is claimed beside suspects.
            return self.cannot_poll(now, steps);
        }
        let log_rests = self.troubles.rests(Kind::Log, now);
        let log_ready = self.log_ready && !log_rests;
        let mailbox_ready = self.mailbox_ready && !self.troubles.rests(Kind::Mailbox, now);
        if mailbox_ready && !(self.mailbox_was_last && log_ready) {
            self.mailbox_ready = false;
            self.mailbox_was_last = true;
            self.begin(Query::ClaimMailbox(size), steps);
        } else if log_rests {
            self.cannot_poll(now, steps);
        } else if log_ready {
            self.log_ready = false;
            self.mailbox_was_last = false;
            self.repolling = None;
            let says_awake = self.waiter.claims(now);
            self.begin(Query::ClaimLog { size, says_awake }, steps);
        } else {
            self.rest(size, now, steps);
        }
    }

    /// Goes to sleep because the log is read to its end, or polls while asleep.
    fn rest(&mut self, size: ClaimSize, now: Instant, steps: &mut VecDeque<Step>) {
        self.waiter.can_poll();
        if self.waiter.asks_for_renewal(now) {
            steps.push_back(Step::RenewWaiter);
        }
        match self.waiter.row() {
            Row::None if self.waiter.is_removing() => {}
            // The row is written before the claim, so that a publish that the claim does not see finds the row, and rings.
            Row::None | Row::Awake(_) => self.begin(Query::ClaimIfQuiet { size, registers: true }, steps),
            Row::Asleep(since) => match self.repolling {
                Some(repolling) if now < repolling.next_at => {}
                Some(_) => self.begin(Query::ClaimIfQuiet { size, registers: false }, steps),
                None => {
                    if std::mem::take(&mut self.poll_found)
                        || self.waiter.renew_at().is_some_and(|at| now >= at)
                    {
                        let renews = now.saturating_duration_since(since) > WAITER_TTL / 2;
                        self.begin(Query::Poll { size, renews }, steps);
                    }
                }
            },
        }
    }

    fn begin(&mut self, query: Query, steps: &mut VecDeque<Step>) {
        self.query = Some(query);
        steps.push_back(Step::Query(query));
    }

    /// Notes that the log cannot be claimed from now. If this lasts while publishers rely on this dispatcher, the waiter row is
    /// removed, so that they rely on another one.
    fn cannot_poll(&mut self, now: Instant, steps: &mut VecDeque<Step>) {
        if self.waiter.cannot_poll(self.log_ready, now) {
            self.remove_waiter(steps);
        }
    }

    fn remove_waiter(&mut self, steps: &mut VecDeque<Step>) {
        if self.waiter.remove() {
            steps.push_back(Step::RemoveWaiter);
        }
    }

    /// Notes that the waiter row is removed, or will expire.
    pub(super) fn waiter_removed(&mut self) {
        self.waiter.removed();
    }

    /// Removes the waiter row for the end of the dispatcher. Returns whether it is removed.
    pub(super) fn leave(&mut self, steps: &mut VecDeque<Step>) -> bool {
        if self.waiter.row() != Row::None {
            self.remove_waiter(steps);
        }
        !self.waiter.is_removing()
    }

    /// Learns from the answer to the query under way and from the time that it took, and returns that query.
    pub(super) fn completed(&mut self, reply: &Reply, took: Duration, now: Instant) -> Option<Query> {
        let query = self.query.take()?;
        self.troubles.succeeded(query.into());
        if let Reply::Returned(returned) = reply {
            self.unknown_claims.looked(now);
            self.mailbox_ready |= *returned > 0;
            return Some(query);
        }
        let quiet = matches!(reply, Reply::ClaimedIfQuiet { quiet: true, .. });
        let events = reply.events();
        let bytes = events.iter().map(ClaimedEvent::bytes).sum();
        self.limit.claimed(events.len(), bytes, took);
        let is_full = |size: ClaimSize| events.len() == size.batch || bytes >= size.bytes / MEASURED;
        match query {
            Query::ReturnUnknownClaims => {}
            Query::ClaimSuspects(_) => self.suspects.claimed(events, now),
            Query::ClaimMailbox(size) => self.mailbox_ready |= is_full(size),
            Query::ClaimLog { size, .. } => {
                if is_full(size) {
                    self.log_ready = true;
                } else if !events.is_empty() && !self.log_ready {
                    self.log_ready = true;
                    self.resume_at = Some(now + GATHER);
                }
            }
            Query::ClaimIfQuiet { .. } => {
                if !matches!(self.waiter.row(), Row::Asleep(_)) {
                    self.waiter.asleep(now);
                }
                self.log_ready |= !events.is_empty();
                self.repolling = if quiet || !events.is_empty() { None } else { Some(self.repoll(now)) };
            }
            Query::Poll { renews, .. } => {
                if renews {
                    self.waiter.asleep(now);
                }
                self.log_ready |= !events.is_empty();
            }
        }
        Some(query)
    }

    /// Returns the next pause, which is longer than the last one.
    fn repoll(&self, now: Instant) -> Repolling {
        let pause = self.repolling.map_or(FIRST_PAUSE, |repolling| repolling.next_pause);
        Repolling { next_at: now + pause, next_pause: (pause * 2).min(LONGEST_PAUSE) }
    }

    /// Notes that the query under way has failed. Unless the database has refused it, it may have taken effect, so its claim is
    /// returned before anything else is claimed. A refusal says nothing about queries of other kinds. Returns the pause before
    /// the next query of this kind.
    pub(super) fn failed(&mut self, refused: bool, now: Instant, random: f64) -> Duration {
        let query = self.query.take().unwrap_or(Query::ReturnUnknownClaims);
        if let Some(size) = query.size() {
            self.limit.halve((size.batch, size.bytes));
        }
        let kind = Kind::from(query);
        let wait = self.troubles.failed(kind, random);
        if !refused {
            self.unknown_claims = UnknownClaims::expected();
            self.log_ready = true;
            self.mailbox_ready = true;
            self.suspects.expect();
            self.resume_at = Some(now + wait);
            return wait;
        }
        self.troubles.refused(kind, now + wait);
        match kind {
            Kind::Log => self.log_ready = true,
            Kind::Mailbox => self.mailbox_ready = true,
            Kind::Suspects => self.suspects_again = true,
            Kind::UnknownClaims => {}
        }
        wait
    }

    /// Returns the times at which [`choose`](Self::choose) may choose another query, if nothing else happens.
    pub(super) fn wake_at(&self) -> impl Iterator<Item = Instant> {
        let repoll_at = self.repolling.map(|repolling| repolling.next_at);
        let waiter = [self.waiter.wake_at(), self.waiter.ask_at(), self.waiter.renew_at()];
        let own = [self.resume_at, self.suspects.wake_at(), repoll_at, self.unknown_claims.wake_at()];
        own.into_iter().chain(waiter).flatten().chain(self.troubles.wake_at())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dispatch::simulation::{Scenario, settings};

    const FREE: Facts = Facts { room: 1, held_bytes: 0, start_limit: 1, holds_nothing: true };

    #[test]
    fn a_waiter_row_is_renewed_although_its_process_never_polls() {
        let start = Instant::now();
        let (mut intake, mut steps) = (Intake::new(&settings(&Scenario::default()), 1), VecDeque::new());
        let (mut now, mut renewed_at) = (start, start);
        while now < start + WAITER_TTL * 5 {
            intake.choose(FREE, now, &mut steps);
            let reply = match steps.pop_front() {
                None => {
                    now = intake.wake_at().filter(|&at| at > now).min().expect("it wakes by itself");
                    continue;
                }
                Some(Step::Query(Query::ClaimIfQuiet { .. })) => {
                    renewed_at = now;
                    Reply::ClaimedIfQuiet { events: Vec::new(), quiet: true }
                }
                Some(Step::Query(Query::Poll { renews, .. })) => {
                    renewed_at = if renews { now } else { renewed_at };
                    Reply::Claimed(Vec::new())
                }
                Some(_) => Reply::Claimed(Vec::new()),
            };
            intake.completed(&reply, Duration::ZERO, now);
            assert!(now < renewed_at + WAITER_TTL, "the row has expired after {:?}", now - start);
        }
        assert!(renewed_at > start + WAITER_TTL * 3);
    }

    #[test]
    fn polls_beside_an_idle_publisher_become_few() {
        let start = Instant::now();
        let (mut intake, mut steps) = (Intake::new(&settings(&Scenario::default()), 1), VecDeque::new());
        let (mut now, mut late) = (start, 0);
        while now < start + Duration::from_secs(11) {
            intake.choose(FREE, now, &mut steps);
            let Some(step) = steps.pop_front() else {
                now = intake.wake_at().filter(|&at| at > now).min().expect("it wakes by itself");
                continue;
            };
            late += u32::from(now > start + Duration::from_secs(1));
            let reply = match step {
                Step::Query(Query::ClaimIfQuiet { .. }) => {
                    Reply::ClaimedIfQuiet { events: Vec::new(), quiet: false }
                }
                _ => Reply::Claimed(Vec::new()),
            };
            intake.completed(&reply, Duration::ZERO, now);
        }
        assert!((10..=30).contains(&late), "{late} queries in ten seconds");
    }
}
