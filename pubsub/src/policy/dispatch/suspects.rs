//! Decides when suspects are claimed, and how long they run alone.
//!
//! A suspect is a delivery whose process died during an attempt. Most are innocent, so the suspects of one dead process
//! run together at first, beside nothing else. If their process dies again, each of them runs alone, so that it must have caused a
//! third death itself. The database sees to it that no other subscription of the process has suspects at that time.

use super::step::Step;
use crate::model::event::ClaimedEvent;
use crate::model::settings::SubscriptionSettings;
use std::time::{Duration, Instant};

/// How long suspects wait until they can be alone.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);

/// The time for which suspects are handled alone. Most events that kill their process do so at once. An event that takes longer
/// must not delay the others.
pub(super) const PROBATION: Duration = Duration::from_millis(100);

/// The same for a suspect after its second crash, and for one whose next death is its last. Few innocent events get this far, and
/// those must not be in a further death.
pub(super) const LONG_PROBATION: Duration = Duration::from_secs(5);

/// The state of a subscription's suspects.
#[derive(Debug)]
pub(super) struct Suspects {
    /// The mailbox may have one.
    ready: bool,
    /// The latest time until which suspects wait for other deliveries to end, or are handled alone.
    alone_until: Option<Instant>,
    /// Whether suspects are handled alone.
    running: bool,
    /// Whether suspects have been handled alone since this was last asked.
    ended: bool,
    /// Whether the process has other subscriptions, whose suspects may wait for those of this one.
    has_neighbours: bool,
    max_attempts: u32,
    max_crashes: u32,
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

impl Suspects {
    /// Returns the state before anything is known. `has_neighbours`: the process has other subscriptions.
    pub(super) fn new(settings: &SubscriptionSettings, has_neighbours: bool) -> Self {
        let &SubscriptionSettings { max_attempts, max_crashes, .. } = settings;
        Self {
            ready: true,
            alone_until: None,
            running: false,
            ended: false,
            has_neighbours,
            max_attempts,
            max_crashes,
        }
    }

    /// The mailbox may have a suspect.
    pub(super) fn expect(&mut self) {
        self.ready = true;
    }

    /// Forgets the suspects that are handled, because the process has a new id and holds nothing.
    pub(super) fn reregistered(&mut self) {
        self.ready = true;
        self.alone_until = None;
        self.running = false;
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
        self.ended |= std::mem::take(&mut self.running);
        if std::mem::take(&mut self.ready) { Turn::Claim } else { Turn::None }
    }

    /// Notes the suspects that a claim has returned. If there are any, there may be more. They are alone until they are settled
    /// or their probation is over.
    pub(super) fn claimed(&mut self, suspects: &[ClaimedEvent], now: Instant) {
        self.running = !suspects.is_empty();
        self.ready |= self.running;
        let probation = suspects.iter().map(|suspect| self.probation(suspect)).max();
        self.alone_until = probation.map(|probation| now + probation);
    }

    fn probation(&self, suspect: &ClaimedEvent) -> Duration {
        let is_last = suspect.crashes + 1 >= self.max_crashes || suspect.attempt >= self.max_attempts;
        if suspect.crashes < 2 && !is_last { PROBATION } else { LONG_PROBATION }
    }

    /// Returns a step that wakes other subscriptions, if suspects have been handled alone since the last call.
    pub(super) fn take_ended(&mut self) -> Option<Step> {
        let ended = std::mem::take(&mut self.ended) && self.has_neighbours;
        ended.then_some(Step::MailboxChanged { after: Duration::ZERO })
    }

    /// Returns the time at which the answer of [`turn`](Self::turn) changes by itself.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.alone_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dispatch::simulation::{Scenario, settings};

    fn suspect(crashes: u32, attempt: u32) -> ClaimedEvent {
        ClaimedEvent { crashes, attempt, ..ClaimedEvent::sample(1) }
    }

    /// Whether other subscriptions are woken once the claimed suspects have been handled.
    fn wakes_others(has_neighbours: bool, claimed: &[ClaimedEvent]) -> bool {
        let (settings, now) = (settings(&Scenario::default()), Instant::now());
        let mut suspects = Suspects::new(&settings, has_neighbours);
        assert_eq!(suspects.turn(true, now), Turn::Claim);
        suspects.claimed(claimed, now);
        assert!(suspects.take_ended().is_none(), "they are being handled");
        suspects.turn(true, now);
        let woken = suspects.take_ended().is_some();
        assert!(suspects.take_ended().is_none(), "once");
        woken
    }

    #[test]
    fn other_subscriptions_are_woken_when_suspects_end() {
        assert!(wakes_others(true, &[suspect(2, 2)]));
        assert!(!wakes_others(false, &[suspect(2, 2)]), "there are none");
        assert!(!wakes_others(true, &[]), "nothing was handled");
    }

    #[test]
    fn a_suspect_is_alone_for_longer_if_its_next_death_is_its_last() {
        let alone_for = |max_attempts, max_crashes, suspect: ClaimedEvent| {
            let settings =
                SubscriptionSettings { max_attempts, max_crashes, ..settings(&Scenario::default()) };
            let (mut suspects, now) = (Suspects::new(&settings, false), Instant::now());
            suspects.claimed(&[suspect], now);
            suspects.wake_at().map(|until| until - now)
        };
        assert_eq!(alone_for(20, 3, suspect(1, 2)), Some(PROBATION));
        assert_eq!(alone_for(20, 3, suspect(2, 3)), Some(LONG_PROBATION));
        assert_eq!(alone_for(20, 2, suspect(1, 2)), Some(LONG_PROBATION), "the limit of crashes");
        assert_eq!(alone_for(2, 3, suspect(1, 2)), Some(LONG_PROBATION), "the last attempt");
    }
}
