//! Decides when a suspect is claimed, and how long it runs alone.
//!
//! A suspect is a delivery whose process died during an attempt. It runs alone, so that it must have caused a further death
//! itself.

use crate::model::event::ClaimedEvent;
use std::time::{Duration, Instant};

/// How long a suspect waits until it can be alone.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The time for which a suspect is handled alone. Most events that kill their process do so at once. An event that takes longer
/// must not delay the others.
pub(super) const PROBATION: Duration = Duration::from_millis(100);

/// The same for a suspect after its second crash. Few innocent events get this far, and an innocent event that was in both
/// deaths must not be in a third.
pub(super) const LONG_PROBATION: Duration = Duration::from_secs(5);

/// The state of a subscription's suspects.
#[derive(Debug)]
pub(super) struct Suspects {
    /// The mailbox may have one.
    ready: bool,
    /// The latest time until which a suspect waits for other deliveries to end, or is handled alone.
    alone_until: Option<Instant>,
}

/// The demand of the suspects on the next query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Anything may be claimed.
    None,
    /// Nothing may be claimed yet.
    Wait,
    /// A suspect must be claimed.
    Claim,
}

impl Default for Suspects {
    fn default() -> Self {
        Self { ready: true, alone_until: None }
    }
}

impl Suspects {
    /// The mailbox may have a suspect.
    pub(super) fn expect(&mut self) {
        self.ready = true;
    }

    /// Forgets the suspect that is handled, because the process has a new id and holds nothing.
    pub(super) fn reregistered(&mut self) {
        self.ready = true;
        self.alone_until = None;
    }

    /// Decides whether a suspect is claimed now, or waits to be alone. The wait has a limit, because a handler may take hours.
    pub(super) fn turn(&mut self, holds_nothing: bool, now: Instant) -> Turn {
        if !self.ready && self.alone_until.is_none() {
            return Turn::None;
        }
        let until = *self.alone_until.get_or_insert(now + PATIENCE);
        if !holds_nothing && now < until {
            return Turn::Wait;
        }
        // The suspect is alone, or has waited long enough for long deliveries.
        self.alone_until = None;
        if std::mem::take(&mut self.ready) { Turn::Claim } else { Turn::None }
    }

    /// Notes the suspect that a claim has returned, if there is one. Then there may be more. It is alone until it is settled or
    /// its probation is over.
    pub(super) fn claimed(&mut self, suspect: Option<&ClaimedEvent>, now: Instant) {
        self.ready |= suspect.is_some();
        let probation = |suspect: &ClaimedEvent| if suspect.crashes < 2 { PROBATION } else { LONG_PROBATION };
        self.alone_until = suspect.map(|suspect| now + probation(suspect));
    }

    /// Returns the time at which the answer of [`turn`](Self::turn) changes by itself.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.alone_until
    }
}
