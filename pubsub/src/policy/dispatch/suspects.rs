//! Decides when suspects are claimed, and how long they run alone.
//!
//! A suspect is a delivery whose process died during an attempt. Most are innocent, so the suspects of one dead process
//! run together at first, beside nothing else. If their process dies again, each of them runs alone, so that it must have caused a
//! third death itself.

use crate::model::event::ClaimedEvent;
use std::time::{Duration, Instant};

/// How long suspects wait until they can be alone.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The time for which suspects are handled alone. Most events that kill their process do so at once. An event that takes longer
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
    /// The latest time until which suspects wait for other deliveries to end, or are handled alone.
    alone_until: Option<Instant>,
}

/// The demand of the suspects on the next query.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Anything may be claimed.
    None,
    /// Nothing may be claimed yet.
    Wait,
    /// Suspects must be claimed.
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

    /// Forgets the suspects that are handled, because the process has a new id and holds nothing.
    pub(super) fn reregistered(&mut self) {
        self.ready = true;
        self.alone_until = None;
    }

    /// Decides whether suspects are claimed now, or wait to be alone. The wait has a limit, because a handler may take hours.
    pub(super) fn turn(&mut self, holds_nothing: bool, now: Instant) -> Turn {
        if !self.ready && self.alone_until.is_none() {
            return Turn::None;
        }
        let until = *self.alone_until.get_or_insert(now + PATIENCE);
        if !holds_nothing && now < until {
            return Turn::Wait;
        }
        // The suspects are alone, or have waited long enough for long deliveries.
        self.alone_until = None;
        if std::mem::take(&mut self.ready) { Turn::Claim } else { Turn::None }
    }

    /// Notes the suspects that a claim has returned. If there are any, there may be more. They are alone until they are settled
    /// or their probation is over.
    pub(super) fn claimed(&mut self, suspects: &[ClaimedEvent], now: Instant) {
        self.ready |= !suspects.is_empty();
        let probation = |crashes: u32| if crashes < 2 { PROBATION } else { LONG_PROBATION };
        let crashes = suspects.iter().map(|suspect| suspect.crashes).max();
        self.alone_until = crashes.map(|crashes| now + probation(crashes));
    }

    /// Returns the time at which the answer of [`turn`](Self::turn) changes by itself.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.alone_until
    }
}
