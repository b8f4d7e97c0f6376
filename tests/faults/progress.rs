//! The history of a run while it grows: the events that are not handled yet, and when they were.

use crate::history::{Handling, Nanos, Outcome, Publication, Step};
use crate::worker::SUBSCRIPTIONS;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The state of one subscription.
#[derive(Debug, Default)]
struct Seen {
    /// Acknowledged events that no handler has accepted, and when they were acknowledged.
    pending: HashMap<i64, Nanos>,
    accepted: HashSet<i64>,
    /// When the newest of the accepted events was acknowledged.
    newest: Nanos,
}

/// The history so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) publications: Vec<Publication>,
    pub(crate) handlings: Vec<Handling>,
    acked: HashMap<i64, Nanos>,
    seen: [Seen; SUBSCRIPTIONS.len()],
}

impl Progress {
    pub(crate) fn published(&mut self, publication: Publication) {
        self.publications.push(publication);
        let Publication { n, to, outcome, poison, .. } = publication;
        if outcome != Outcome::Acked || poison {
            return;
        }
        self.acked.insert(n, to);
        for seen in &mut self.seen {
            if seen.accepted.contains(&n) {
                seen.newest = seen.newest.max(to);
            } else {
                seen.pending.insert(n, to);
            }
        }
    }

    pub(crate) fn handled(&mut self, handling: Handling) {
        self.handlings.push(handling);
        if handling.step == Step::Accepted {
            let seen = &mut self.seen[handling.subscription];
            seen.accepted.insert(handling.n);
            seen.pending.remove(&handling.n);
            if let Some(&acked) = self.acked.get(&handling.n) {
                seen.newest = seen.newest.max(acked);
            }
        }
    }

    /// The number of acknowledged events.
    pub(crate) fn acked(&self) -> usize {
        self.acked.len()
    }

    /// The most events that a subscription has before it.
    pub(crate) fn backlog(&self) -> usize {
        self.seen.iter().map(|seen| seen.pending.len()).max().unwrap_or_default()
    }

    /// The events acknowledged until then that a subscription has not accepted.
    pub(crate) fn pending(&self, until: Nanos) -> Vec<(usize, i64)> {
        let of = |(subscription, seen): (usize, &Seen)| {
            let old = seen.pending.iter().filter(move |&(_, &acked)| acked <= until);
            old.map(|(&n, _)| (subscription, n)).collect::<Vec<_>>()
        };
        self.seen.iter().enumerate().flat_map(of).collect()
    }

    /// Whether every event acknowledged until then is accepted, and a later one too.
    pub(crate) fn has_recovered(&self, since: Nanos) -> bool {
        self.seen.iter().all(|seen| seen.newest > since && seen.pending.values().all(|&acked| acked > since))
    }

    /// Describes the way of the last of these events to be accepted, in seconds since a time.
    pub(crate) fn describe(&self, events: &[(usize, i64)], since: Nanos) -> String {
        let seconds = |at: Nanos| (at as f64 - since as f64) / 1e9;
        let way = |&(subscription, n): &(usize, i64)| {
            let steps = self.handlings.iter().filter(|h| (h.subscription, h.n) == (subscription, n));
            let steps = steps.map(|h| format!("{:?} at {:.2} under {}", h.step, seconds(h.at), h.token));
            let acked = self.acked.get(&n).map_or(0.0, |&at| seconds(at));
            format!(
                "{}, event {n}, acknowledged at {acked:.2}: {}",
                SUBSCRIPTIONS[subscription].0,
                steps.collect::<Vec<_>>().join(", ")
            )
        };
        let first: Vec<_> = events.iter().take(3).map(way).collect();
        format!("{} events at last: {}", events.len(), first.join("; "))
    }

    /// The times from the acknowledgement of a subscription's events to their first start.
    pub(crate) fn delays(&self, subscription: usize) -> Vec<Duration> {
        let mut started = HashSet::new();
        let starts =
            self.handlings.iter().filter(|h| h.subscription == subscription && h.step == Step::Started);
        let first = starts.filter(|handling| started.insert(handling.n));
        let delay = |handling: &Handling| Some(handling.at.saturating_sub(*self.acked.get(&handling.n)?));
        first.filter_map(delay).map(Duration::from_nanos).collect()
    }

    /// Drops events that were forgotten in a failover.
    pub(crate) fn forget(&mut self, forgotten: &[i64]) {
        for seen in &mut self.seen {
            seen.pending.retain(|n, _| !forgotten.contains(n));
        }
    }
}
