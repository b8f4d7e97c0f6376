//! Decides when a suspect is claimed, and how long it runs alone.
//!
//! A suspect is a delivery whose process died while it held it. It runs alone, so that a further death is its own fault.

use crate::model::event::ClaimedEvent;
use std::time::{Duration, Instant};

/// How long a suspect waits until it can be alone.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// How long a suspect is handled alone. An event that kills its process mostly does so at once; one that takes longer must not
/// hold up the others.
pub(super) const PROBATION: Duration = Duration::from_millis(100);

/// The same for a suspect whose process has died twice. An innocent one hardly ever gets there, and the events beside it were
/// in both deaths and must not be in a third.
pub(super) const LONG_PROBATION: Duration = Duration::from_secs(5);

/// The state of a subscription's suspects.
#[derive(Debug)]
pub(super) struct Suspects {
    /// The mailbox may have one.
    ready: bool,
    /// Until when a suspect waits for the others to end, or is handled alone.
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

    /// Forgets the suspect that is handled: the process has a new id, and holds nothing.
    pub(super) fn reregistered(&mut self) {
        self.ready = true;
        self.alone_until = None;
    }

    /// Decides whether a suspect is claimed now, or waits to be alone. Nothing waits for ever, because a handler may take
    /// hours.
    pub(super) fn turn(&mut self, holds_nothing: bool, now: Instant) -> Turn {
        if !self.ready && self.alone_until.is_none() {
            return Turn::None;
        }
        let until = *self.alone_until.get_or_insert(now + PATIENCE);
        if !holds_nothing && now < until {
            return Turn::Wait;
        }
        // The suspect is alone, or has waited for long enough for deliveries that take long.
        self.alone_until = None;
        if std::mem::take(&mut self.ready) { Turn::Claim } else { Turn::None }
    }

    /// A claim has brought a suspect, or none. If there is one there may be more. It is alone until it is settled or its
    /// probation is over.
    pub(super) fn claimed(&mut self, suspect: Option<&ClaimedEvent>, now: Instant) {
        self.ready |= suspect.is_some();
        let probation = |suspect: &ClaimedEvent| if suspect.crashes < 2 { PROBATION } else { LONG_PROBATION };
        self.alone_until = suspect.map(|suspect| now + probation(suspect));
    }

    /// When the answer of [`turn`](Self::turn) changes by itself.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.alone_until
    }
}
