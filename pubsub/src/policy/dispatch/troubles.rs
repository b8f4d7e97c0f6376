//! Decides how long each kind of query is left alone after it has failed.
//!
//! Each kind has its own count of failures, because the success of one shows nothing about another: a subscription that is
//! suspended still has a mailbox.

use super::step::Query;
use crate::model::backoff::Backoff;
use std::time::{Duration, Instant};

/// The pauses between attempts while the database fails.
const DATABASE_BACKOFF: Backoff =
    Backoff::exponential(Duration::from_millis(50)).max(Duration::from_secs(5)).jitter(0.5);

/// The kinds of queries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Log,
    Mailbox,
    Suspects,
    UnknownClaims,
}

impl From<Query> for Kind {
    fn from(query: Query) -> Self {
        match query {
            Query::ClaimLog { .. } | Query::ClaimIfQuiet { .. } | Query::Poll { .. } => Self::Log,
            Query::ClaimMailbox(_) => Self::Mailbox,
            Query::ClaimSuspects(_) => Self::Suspects,
            Query::ReturnUnknownClaims => Self::UnknownClaims,
        }
    }
}

/// The failures of each kind of query since its last success.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    kinds: [Trouble; 4],
}

#[derive(Debug, Default)]
struct Trouble {
    failures: u32,
    /// The time until which this kind of query is left alone, because the database has refused it.
    refused_until: Option<Instant>,
}

impl Troubles {
    /// Notes a failure. Returns the pause before the next query of this kind.
    pub(super) fn failed(&mut self, kind: Kind, random: f64) -> Duration {
        let trouble = &mut self.kinds[kind as usize];
        trouble.failures = trouble.failures.saturating_add(1);
        DATABASE_BACKOFF.delay(trouble.failures, random)
    }

    /// Leaves this kind of query alone for a while.
    pub(super) fn refused(&mut self, kind: Kind, until: Instant) {
        self.kinds[kind as usize].refused_until = Some(until);
    }

    pub(super) fn succeeded(&mut self, kind: Kind) {
        self.kinds[kind as usize] = Trouble::default();
    }

    /// Whether this kind of query is left alone now.
    pub(super) fn rests(&self, kind: Kind, now: Instant) -> bool {
        self.kinds[kind as usize].refused_until.is_some_and(|until| now < until)
    }

    /// Returns the times at which the answers of [`rests`](Self::rests) change.
    pub(super) fn wake_at(&self) -> impl Iterator<Item = Instant> {
        self.kinds.iter().filter_map(|trouble| trouble.refused_until)
    }
}
