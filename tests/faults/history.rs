//! The history of a run, and what must hold in it. Nothing here does I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

/// Nanoseconds since the epoch, by the clock of the machine that all processes of a run share.
pub(crate) type Nanos = u64;

/// The end of a publisher's transaction, as the publisher saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server confirmed the commit.
    Acked,
    /// The commit was sent, and no answer arrived.
    Unknown,
    /// The commit was not sent.
    Failed,
}

/// An attempt to publish one event. `n` is different for every attempt of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publication {
    pub(crate) n: i64,
    /// When its transaction began, and when its end was known.
    pub(crate) from: Nanos,
    pub(crate) to: Nanos,
    pub(crate) outcome: Outcome,
    /// Whether handlers die of it, so that its dead letter is no violation.
    pub(crate) poison: bool,
}

/// An event whose transaction committed, by a table that it wrote to. Publishers of one key take turns, so `seq` rises in the order
/// of their commits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Committed {
    pub(crate) n: i64,
    pub(crate) key: i32,
    pub(crate) seq: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Started,
    /// The handler is about to accept the event.
    Accepted,
    /// The handler is about to fail.
    Failed,
}

/// A line of a worker's history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handling {
    pub(crate) step: Step,
    /// The subscription's index.
    pub(crate) subscription: usize,
    pub(crate) n: i64,
    pub(crate) token: i64,
    pub(crate) at: Nanos,
}

/// A change of a lease, as the database recorded it in the same transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseStep {
    Claimed,
    /// Given up without being done: in the mailbox, or a dead letter.
    GivenBack,
    Done,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaseChange {
    pub(crate) step: LeaseStep,
    pub(crate) subscription: usize,
    pub(crate) n: i64,
    pub(crate) token: i64,
}

/// Everything that is known about a run.
#[derive(Debug, Default)]
pub(crate) struct History {
    /// Whether each subscription is ordered.
    pub(crate) ordered: Vec<bool>,
    pub(crate) publications: Vec<Publication>,
    pub(crate) committed: Vec<Committed>,
    pub(crate) handlings: Vec<Handling>,
    /// In an order that is right for each event of a subscription.
    pub(crate) leases: Vec<LeaseChange>,
    /// The dead letters: subscription and event.
    pub(crate) dead: Vec<(usize, i64)>,
    /// The times in which a commit may be forgotten: from the last one that a standby has received to its promotion.
    pub(crate) forgetful: Vec<(Nanos, Nanos)>,
}

/// A broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Violation {
    /// Acknowledged or found committed, and not accepted by a handler.
    Lost { subscription: usize, n: i64 },
    /// Acknowledged, and gone from the database without a failover that explains it.
    Vanished { n: i64 },
    /// Handled, although it was never committed.
    Unexpected { subscription: usize, n: i64 },
    /// Claimed again after it was done.
    Doubled { subscription: usize, n: i64 },
    /// In two leases at once.
    LeasedTwice { subscription: usize, n: i64 },
    /// Started twice under one lease.
    StartedTwice { subscription: usize, n: i64, token: i64 },
    /// Started before an earlier event of its key was over.
    OutOfOrder { subscription: usize, key: i32, n: i64 },
    /// Done under a lease whose holder had not accepted it.
    StaleAccepted { subscription: usize, n: i64, token: i64 },
    /// Given up, although no handler died of it.
    DeadLettered { subscription: usize, n: i64 },
}

impl Violation {
    /// The number of the event.
    pub(crate) fn event(self) -> i64 {
        match self {
            Self::Lost { n, .. }
            | Self::Vanished { n }
            | Self::Unexpected { n, .. }
            | Self::Doubled { n, .. }
            | Self::LeasedTwice { n, .. }
            | Self::StartedTwice { n, .. }
            | Self::OutOfOrder { n, .. }
            | Self::StaleAccepted { n, .. }
            | Self::DeadLettered { n, .. } => n,
        }
    }
}

/// The verdict on a run.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) violations: Vec<Violation>,
    pub(crate) acked: usize,
    pub(crate) unknown: usize,
    /// Unknown to their publishers, and committed.
    pub(crate) recovered: usize,
    pub(crate) failed: usize,
    /// Acknowledged, and forgotten in a failover to a standby that lagged.
    pub(crate) forgotten: usize,
    pub(crate) starts: usize,
    /// Accepted more than once, because the first answer did not reach the database.
    pub(crate) repeated: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { violations, acked, unknown, recovered, failed, forgotten, starts, repeated } = self;
        write!(
            f,
            "{acked} events acknowledged, {unknown} unknown (of which {recovered} recovered), {failed} failed, \
             {forgotten} forgotten; {starts} starts, {repeated} repeated; {} violations",
            violations.len()
        )?;
        violations.iter().take(20).try_for_each(|violation| write!(f, "\n  {violation:?}"))
    }
}

impl History {
    /// Checks the history of a run that has ended: all its faults are over, and its subscriptions have had the time to finish.
    pub(crate) fn check(&self) -> Verdict {
        let mut verdict = Verdict { starts: self.starts(), ..Verdict::default() };
        let committed: HashSet<i64> = self.committed.iter().map(|event| event.n).collect();
        let erased = self.check_publications(&committed, &mut verdict);
        let accepted = self.accepted();
        for subscription in 0..self.ordered.len() {
            self.check_arrival(subscription, &committed, &accepted, &mut verdict);
            if self.ordered[subscription] {
                self.check_order(subscription, &accepted, &mut verdict);
            }
        }
        self.check_starts(&committed, &erased, &mut verdict);
        self.check_leases(&mut verdict);
        let poison: HashSet<i64> = self.publications.iter().filter(|p| p.poison).map(|p| p.n).collect();
        let dead = self.dead.iter().filter(|(_, n)| !poison.contains(n));
        verdict.violations.extend(dead.map(|&(subscription, n)| Violation::DeadLettered { subscription, n }));
        verdict.violations.sort_unstable();
        verdict.violations.dedup();
        verdict
    }

    fn starts(&self) -> usize {
        self.handlings.iter().filter(|handling| handling.step == Step::Started).count()
    }

    /// The first acceptance of each event, by subscription.
    fn accepted(&self) -> HashMap<(usize, i64), Nanos> {
        let mut accepted = HashMap::new();
        for handling in self.handlings.iter().filter(|handling| handling.step == Step::Accepted) {
            let first = accepted.entry((handling.subscription, handling.n)).or_insert(handling.at);
            *first = handling.at.min(*first);
        }
        accepted
    }

    /// Returns the events that may have been handled before they were forgotten.
    fn check_publications(&self, committed: &HashSet<i64>, verdict: &mut Verdict) -> HashSet<i64> {
        let mut erased = HashSet::new();
        for publication in &self.publications {
            let found = committed.contains(&publication.n);
            let forgetful =
                self.forgetful.iter().any(|&(from, to)| publication.from <= to && publication.to >= from);
            if forgetful && !found {
                erased.insert(publication.n);
            }
            match publication.outcome {
                Outcome::Acked => {
                    verdict.acked += 1;
                    match (found, forgetful) {
                        (true, _) => {}
                        (false, true) => verdict.forgotten += 1,
                        (false, false) => verdict.violations.push(Violation::Vanished { n: publication.n }),
                    }
                }
                Outcome::Unknown => {
                    verdict.unknown += 1;
                    verdict.recovered += usize::from(found);
                }
                Outcome::Failed => verdict.failed += 1,
            }
        }
        erased
    }

    fn check_arrival(
        &self,
        subscription: usize,
        committed: &HashSet<i64>,
        accepted: &HashMap<(usize, i64), Nanos>,
        verdict: &mut Verdict,
    ) {
        let dead: HashSet<i64> = self.dead.iter().filter(|d| d.0 == subscription).map(|d| d.1).collect();
        let arrived = |n: i64| accepted.contains_key(&(subscription, n)) || dead.contains(&n);
        let lost = committed.iter().filter(|&&n| !arrived(n));
        verdict.violations.extend(lost.map(|&n| Violation::Lost { subscription, n }));
    }

    /// Checks that the first start of each event of a key follows the first acceptance of the one before.
    fn check_order(
        &self,
        subscription: usize,
        accepted: &HashMap<(usize, i64), Nanos>,
        verdict: &mut Verdict,
    ) {
        let mut started: HashMap<i64, Nanos> = HashMap::new();
        let starts = self.handlings.iter().filter(|h| h.step == Step::Started);
        for handling in starts.filter(|handling| handling.subscription == subscription) {
            let first = started.entry(handling.n).or_insert(handling.at);
            *first = handling.at.min(*first);
        }
        let mut keys: BTreeMap<i32, BTreeMap<i64, i64>> = BTreeMap::new();
        for event in &self.committed {
            keys.entry(event.key).or_default().insert(event.seq, event.n);
        }
        let dead: HashSet<i64> = self.dead.iter().filter(|d| d.0 == subscription).map(|d| d.1).collect();
        for (key, events) in keys {
            // An event that died lets the next one start, at a time that is not known.
            let events: Vec<i64> = events.into_values().filter(|n| !dead.contains(n)).collect();
            for pair in events.windows(2) {
                let before = accepted.get(&(subscription, pair[0]));
                let after = started.get(&pair[1]);
                if let Some(after) = after
                    && before.is_none_or(|before| after < before)
                {
                    verdict.violations.push(Violation::OutOfOrder { subscription, key, n: pair[1] });
                }
            }
        }
    }

    fn check_starts(&self, committed: &HashSet<i64>, erased: &HashSet<i64>, verdict: &mut Verdict) {
        let mut leases = HashSet::new();
        let mut accepted = HashSet::new();
        for &Handling { step, subscription, n, token, .. } in &self.handlings {
            match step {
                Step::Started if !committed.contains(&n) && !erased.contains(&n) => {
                    verdict.violations.push(Violation::Unexpected { subscription, n });
                }
                Step::Started if !leases.insert((subscription, n, token)) => {
                    verdict.violations.push(Violation::StartedTwice { subscription, n, token });
                }
                Step::Accepted => verdict.repeated += usize::from(!accepted.insert((subscription, n))),
                Step::Started | Step::Failed => {}
            }
        }
    }

    fn check_leases(&self, verdict: &mut Verdict) {
        let answered = self.handlings.iter().filter(|handling| handling.step == Step::Accepted);
        let answered: BTreeSet<(usize, i64, i64)> =
            answered.map(|handling| (handling.subscription, handling.n, handling.token)).collect();
        let mut held: HashMap<(usize, i64), i64> = HashMap::new();
        let mut done: HashSet<(usize, i64)> = HashSet::new();
        for &LeaseChange { step, subscription, n, token } in &self.leases {
            let event = (subscription, n);
            match step {
                LeaseStep::Claimed => {
                    if done.contains(&event) {
                        verdict.violations.push(Violation::Doubled { subscription, n });
                    }
                    if held.insert(event, token).is_some_and(|other| other != token) {
                        verdict.violations.push(Violation::LeasedTwice { subscription, n });
                    }
                }
                LeaseStep::GivenBack => drop(held.remove(&event)),
                LeaseStep::Done => {
                    held.remove(&event);
                    done.insert(event);
                    if !answered.contains(&(subscription, n, token)) {
                        verdict.violations.push(Violation::StaleAccepted { subscription, n, token });
                    }
                }
            }
        }
    }
}
