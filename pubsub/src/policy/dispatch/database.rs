//! A model of the database for the simulated dispatcher: the log, the mailbox, leases, and the waiter row.

use super::properties::claims_from_log;
use super::step::{Query, Reply};
use super::waiter::WAITER_TTL;
use crate::model::event::{ClaimedEvent, LeaseToken};
use crate::policy::disposition::{Action, Disposition};
use crate::policy::leases::Settlement;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// An event in the log.
#[derive(Debug)]
struct Logged {
    publish: usize,
    committed: Option<Instant>,
    claimed: bool,
}

/// A transaction that publishes.
#[derive(Debug)]
struct Publish {
    /// It has found a sleeper, and rings when it commits.
    rings: bool,
    under_way: bool,
}

/// A delivery in the mailbox.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    id: i64,
    due: Instant,
    attempt: u32,
    crashes: u32,
}

/// The waiter row.
#[derive(Debug, Clone, Copy)]
enum Row {
    Asleep { until: Instant },
    Awake,
}

/// The finding of a query, for the properties.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Found {
    pub(super) events: usize,
    /// Events of the log for which no bell rings.
    pub(super) unrung: usize,
    /// The longest that one of them has waited in the log since its commit.
    pub(super) waited: Duration,
    /// The number of crashes of the suspects, if there were any.
    pub(super) crashes: Option<u32>,
}

/// The state of the database.
#[derive(Debug)]
pub(super) struct Database {
    /// Whether the subscription is suspended.
    suspended: bool,
    log: Vec<Logged>,
    publishes: Vec<Publish>,
    mailbox: Vec<Waiting>,
    leases: BTreeMap<i64, Vec<Waiting>>,
    row: Option<Row>,
    last_token: i64,
    suspects: i64,
    start: Instant,
}

/// The first id of suspects, which differ from those of other events.
const FIRST_SUSPECT: i64 = 1_000_000;

impl Database {
    pub(super) fn new(start: Instant, suspended: bool) -> Self {
        Self {
            suspended,
            log: Vec::new(),
            publishes: Vec::new(),
            mailbox: Vec::new(),
            leases: BTreeMap::new(),
            row: None,
            last_token: 0,
            suspects: 0,
            start,
        }
    }

    /// Starts a publish: takes the channel's lock, inserts the events, and looks for sleepers.
    pub(super) fn begin_publish(&mut self, events: usize, silent: bool, now: Instant) -> usize {
        let rings = !silent && self.has_sleeper(now);
        let publish = self.publishes.len();
        self.publishes.push(Publish { rings, under_way: true });
        let logged = || Logged { publish, committed: None, claimed: false };
        self.log.extend(std::iter::repeat_with(logged).take(events));
        publish
    }

    /// Commits a publish. Returns whether it rings.
    pub(super) fn end_publish(&mut self, publish: usize, now: Instant) -> bool {
        for logged in self.log.iter_mut().filter(|logged| logged.publish == publish) {
            logged.committed = Some(now);
        }
        self.publishes[publish].under_way = false;
        self.publishes[publish].rings
    }

    /// Adds the suspects of one dead process.
    pub(super) fn add_suspects(&mut self, count: usize, crashes: u32, now: Instant) {
        let first = FIRST_SUSPECT + self.suspects;
        let ids = first..first + count as i64;
        self.suspects = ids.end - FIRST_SUSPECT;
        self.mailbox.extend(ids.map(|id| Waiting { id, due: now, attempt: 1, crashes }));
    }

    /// Whether the mailbox has ordinary deliveries that are due, and suspects.
    pub(super) fn due(&self, now: Instant) -> (bool, bool) {
        let due = |suspect| {
            self.mailbox.iter().any(|waiting| waiting.due <= now && waiting.is_suspect() == suspect)
        };
        (due(false), due(true))
    }

    pub(super) fn start_waiting(&mut self, now: Instant) {
        self.row = Some(Row::Asleep { until: now + WAITER_TTL });
    }

    /// Polls the log, and renews the waiter row if it still counts. Returns whether the log has something, and whether the row was
    /// renewed.
    pub(super) fn poll(&mut self, renews: bool, now: Instant) -> (bool, bool) {
        let unread =
            self.suspended || self.log.iter().any(|logged| logged.committed.is_some() && !logged.claimed);
        let renewed = match &mut self.row {
            Some(Row::Asleep { until }) if renews && now < *until => {
                *until = now + WAITER_TTL;
                true
            }
            _ => false,
        };
        (unread, renewed)
    }

    pub(super) fn stop_waiting(&mut self) {
        self.row = None;
    }

    /// Whether publishers see a sleeper.
    pub(super) fn has_sleeper(&self, now: Instant) -> bool {
        matches!(self.row, Some(Row::Asleep { until }) if now < until)
    }

    pub(super) fn has_row(&self) -> bool {
        self.row.is_some()
    }

    /// Whether a query is refused.
    pub(super) fn refuses(&self, query: Query) -> bool {
        self.suspended && claims_from_log(&query)
    }

    /// Answers a query.
    pub(super) fn answer(&mut self, query: Query, known: &[i64], now: Instant) -> (Reply, Found) {
        match query {
            Query::ReturnUnknownClaims => {
                let unknown: Vec<_> = self.leases.extract_if(.., |token, _| !known.contains(token)).collect();
                let mut returned = 0;
                for mut waiting in unknown.into_iter().flat_map(|(_, events)| events) {
                    waiting.due = now;
                    self.mailbox.push(waiting);
                    returned += 1;
                }
                (Reply::Returned(returned), Found::default())
            }
            Query::ClaimSuspects(size) => {
                let events = self.claim_suspects(size.batch, now);
                let found = Found {
                    events: events.len(),
                    crashes: events.first().map(|e| e.crashes),
                    ..Found::default()
                };
                (Reply::Claimed(events), found)
            }
            Query::ClaimMailbox(size) => {
                let events = self.claim_mailbox(size.batch, now);
                let found = Found { events: events.len(), ..Found::default() };
                (Reply::Claimed(events), found)
            }
            Query::ClaimLog { size, says_awake } => {
                if says_awake {
                    self.row = Some(Row::Awake);
                }
                let (events, found) = self.claim_log(size.batch, now);
                (Reply::Claimed(events), found)
            }
            Query::ClaimIfQuiet { size, .. } => {
                let quiet = !self.publishes.iter().any(|publish| publish.under_way);
                let (events, found) = self.claim_log(size.batch, now);
                (Reply::ClaimedIfQuiet { events, quiet }, found)
            }
            Query::Poll { size, .. } => {
                let (events, found) = self.claim_log(size.batch, now);
                (Reply::Claimed(events), found)
            }
        }
    }

    fn claim_log(&mut self, batch: usize, now: Instant) -> (Vec<ClaimedEvent>, Found) {
        let unclaimed =
            (0..).zip(&mut self.log).filter(|(_, logged)| logged.committed.is_some() && !logged.claimed);
        let mut claimed = Vec::new();
        let mut found = Found::default();
        for (id, logged) in unclaimed.take(batch) {
            let waited = logged.committed.map(|committed| now.saturating_duration_since(committed));
            found.waited = found.waited.max(waited.unwrap_or_default());
            logged.claimed = true;
            found.events += 1;
            found.unrung += usize::from(!self.publishes[logged.publish].rings);
            claimed.push(Waiting { id, due: self.start, attempt: 0, crashes: 0 });
        }
        (self.lease(claimed), found)
    }

    /// Claims the first suspect that is due, and with it those of its process, if they have died once.
    fn claim_suspects(&mut self, batch: usize, now: Instant) -> Vec<ClaimedEvent> {
        let due = |waiting: &&Waiting| waiting.is_suspect() && waiting.due <= now;
        let Some(&first) = self.mailbox.iter().filter(due).min_by_key(|waiting| waiting.due) else {
            return Vec::new();
        };
        let mut room = if first.crashes == 1 { batch } else { 1 };
        let alike = |waiting: &mut Waiting| {
            let taken = room > 0 && (waiting.due, waiting.crashes) == (first.due, first.crashes);
            room -= usize::from(taken);
            taken
        };
        let claimed = self.mailbox.extract_if(.., alike).collect();
        self.lease(claimed)
    }

    fn claim_mailbox(&mut self, batch: usize, now: Instant) -> Vec<ClaimedEvent> {
        let mut room = batch;
        let due = |waiting: &mut Waiting| {
            let taken = room > 0 && waiting.due <= now && !waiting.is_suspect();
            room -= usize::from(taken);
            taken
        };
        let claimed = self.mailbox.extract_if(.., due).collect();
        self.lease(claimed)
    }

    fn lease(&mut self, mut claimed: Vec<Waiting>) -> Vec<ClaimedEvent> {
        if claimed.is_empty() {
            return Vec::new();
        }
        self.last_token += 1;
        let token = self.last_token;
        claimed.iter_mut().for_each(|waiting| waiting.attempt += 1);
        let events = claimed.iter().map(|waiting| waiting.claimed(LeaseToken(token))).collect();
        self.leases.insert(token, claimed);
        events
    }

    /// Settles a lease, or a part of it. Returns whether the lease is there.
    pub(super) fn settle(&mut self, settlement: &Settlement, now: Instant) -> bool {
        let Some(lease) = self.leases.get_mut(&settlement.token.0) else { return false };
        let disposed = |id: i64| settlement.dispositions.iter().find(|disposition| disposition.id == id);
        let settled = |waiting: &mut Waiting| {
            disposed(waiting.id).is_some()
                || settlement.acknowledged().is_none_or(|done| done.contains(&waiting.id))
        };
        for mut waiting in lease.extract_if(.., settled) {
            if let Some(Disposition { action, delay, .. }) = disposed(waiting.id)
                && !matches!(action, Action::Reject | Action::Undecodable)
            {
                waiting.due = now + *delay;
                waiting.crashes = 0;
                self.mailbox.push(waiting);
            }
        }
        if lease.is_empty() {
            self.leases.remove(&settlement.token.0);
        }
        true
    }

    /// Returns how many events are committed and not done.
    pub(super) fn undone(&self) -> usize {
        let unclaimed =
            self.log.iter().filter(|logged| logged.committed.is_some() && !logged.claimed).count();
        unclaimed + self.mailbox.len() + self.leases.values().map(Vec::len).sum::<usize>()
    }

    /// Returns how many deliveries wait in the mailbox.
    pub(super) fn in_mailbox(&self) -> usize {
        self.mailbox.len()
    }

    /// Returns how many events are leased.
    pub(super) fn leased(&self) -> usize {
        self.leases.values().map(Vec::len).sum()
    }
}

impl Waiting {
    fn is_suspect(&self) -> bool {
        self.crashes > 0
    }

    fn claimed(&self, token: LeaseToken) -> ClaimedEvent {
        ClaimedEvent {
            token,
            attempt: self.attempt,
            crashes: self.crashes,
            key: Some((self.id % 7).to_string()),
            ..ClaimedEvent::sample(self.id)
        }
    }
}
