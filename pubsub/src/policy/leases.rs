//! Decides when answers are settled, lease by lease.

use crate::model::event::{EventId, LeaseToken, Start};
use crate::policy::disposition::{Action, Disposition, poorer};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The time for which an answer waits for the rest of its lease before it is settled alone. After a crash, the deliveries whose
/// answers wait run again. The next attempt of a failed delivery may be late by the same time.
pub(crate) const LINGER: Duration = Duration::from_millis(20);

/// The leases of one subscription in one process.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    held: BTreeMap<LeaseToken, Held>,
    /// Events handed out and not answered.
    outstanding: usize,
    /// The bytes of these events.
    bytes: usize,
    /// Answers not yet settled.
    unsettled: usize,
}

#[derive(Debug, Default)]
struct Held {
    /// The events handed out, by id. Their starts and bytes are `None` once they are answered.
    events: Vec<(EventId, Option<(Start, usize)>)>,
    /// The number of events handed out and not answered.
    outstanding: usize,
    done: Vec<i64>,
    dispositions: Vec<Disposition>,
    /// The time of the oldest answer for which no settlement is under way.
    since: Option<Instant>,
    settling: bool,
    /// Whether the next settlement names what is done, though it may be all of the lease: `pubsub.settle` has a short cut that leaves
    /// rows of `pubsub.settled` behind.
    names_acknowledged: bool,
    /// Whether a settlement was sent whose result is unknown. A refusal of the next one may only mean that the first took
    /// effect.
    uncertain: bool,
}

/// The answers to write with one `pubsub.settle`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settlement {
    pub(crate) token: LeaseToken,
    /// Events that are done.
    done: Vec<i64>,
    /// The dispositions of events that are not done.
    pub(crate) dispositions: Vec<Disposition>,
    whole: bool,
    names_acknowledged: bool,
}

impl Settlement {
    /// Returns the events to acknowledge; `None` for all that are left of the lease. Beside dispositions they are always named:
    /// `pubsub.settle` would refuse a disposition that an uncertain settlement has written already.
    pub(crate) fn acknowledged(&self) -> Option<&[i64]> {
        (!self.whole || self.names_acknowledged || !self.dispositions.is_empty()).then_some(&self.done)
    }

    /// Returns the settlement with poorer texts, after the database has refused its texts.
    pub(crate) fn with_poorer_texts(mut self) -> Self {
        for error in self.dispositions.iter_mut().filter_map(|disposition| disposition.error.as_mut()) {
            *error = poorer(error);
        }
        self
    }

    /// Whether the lease ends with this settlement.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// Returns the number of answers.
    pub(crate) fn size(&self) -> usize {
        self.done.len() + self.dispositions.len()
    }

    /// Returns the time until the first of the deliveries is due again.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let again = |d: &&Disposition| {
            matches!(d.action, Action::Retry | Action::Panic | Action::Snooze | Action::Return)
        };
        self.dispositions.iter().filter(again).map(|d| d.delay).min()
    }
}

impl Held {
    /// Returns the place of an event, or the place where it would be.
    fn find(&self, event: EventId) -> Result<usize, usize> {
        self.events.binary_search_by_key(&event, |&(event, _)| event)
    }

    /// Returns the events that were handed out and are not answered, with their bytes.
    fn unanswered(&self) -> impl Iterator<Item = (EventId, usize)> {
        self.events.iter().filter_map(|&(event, held)| held.map(|(_, bytes)| (event, bytes)))
    }
}

impl Leases {
    /// Notes a claimed event of so many bytes.
    pub(crate) fn hold(&mut self, token: LeaseToken, event: EventId, start: Start, bytes: usize) {
        let held = self.held.entry(token).or_default();
        let before = match held.find(event) {
            Ok(at) => held.events[at].1.replace((start, bytes)),
            Err(at) => {
                held.events.insert(at, (event, Some((start, bytes))));
                None
            }
        };
        held.outstanding += usize::from(before.is_none());
        self.outstanding += usize::from(before.is_none());
        self.bytes += bytes - before.map_or(0, |(_, bytes)| bytes);
    }

    /// Removes an event that is answered, and returns its start. `None` if the event is not held any more, or was answered before.
    /// [`answered`](Self::answered) notes what becomes of it.
    pub(crate) fn take(&mut self, token: LeaseToken, event: EventId) -> Option<Start> {
        let held = self.held.get_mut(&token)?;
        let at = held.find(event).ok()?;
        let (start, bytes) = held.events[at].1.take()?;
        held.outstanding -= 1;
        self.outstanding -= 1;
        self.bytes -= bytes;
        Some(start)
    }

    /// Notes what becomes of an event that was taken; `None` is done.
    pub(crate) fn answered(
        &mut self,
        token: LeaseToken,
        event: EventId,
        disposition: Option<Disposition>,
        now: Instant,
    ) {
        let Some(held) = self.held.get_mut(&token) else { return };
        self.unsettled += 1;
        held.since.get_or_insert(now);
        match disposition {
            Some(disposition) => held.dispositions.push(disposition),
            None => held.done.push(event.0),
        }
    }

    /// Notes that a handler has settled a delivery of the lease in a transaction of its own.
    pub(crate) fn name_acknowledged(&mut self, token: LeaseToken) {
        if let Some(held) = self.held.get_mut(&token) {
            held.names_acknowledged = true;
        }
    }

    /// Returns the settlements that are due at `now`: of every lease that is answered in full, and of every answer that has
    /// waited for [`LINGER`]. There is one settlement per lease at a time; its end is reported with
    /// [`settled`](Self::settled) or [`failed`](Self::failed).
    pub(crate) fn settlements(&mut self, now: Instant) -> Vec<Settlement> {
        let mut settlements = Vec::new();
        for (&token, held) in &mut self.held {
            let Some(since) = held.since else { continue };
            let complete = held.outstanding == 0;
            if held.settling || !(complete || now.saturating_duration_since(since) >= LINGER) {
                continue;
            }
            held.settling = true;
            held.since = None;
            let done = std::mem::take(&mut held.done);
            let dispositions = std::mem::take(&mut held.dispositions);
            let names_acknowledged = std::mem::take(&mut held.names_acknowledged);
            settlements.push(Settlement { token, done, dispositions, whole: complete, names_acknowledged });
        }
        settlements
    }

    /// Makes all answers due, though they have not waited for [`LINGER`].
    pub(crate) fn hurry(&mut self, now: Instant) {
        let lingered = now.checked_sub(LINGER).unwrap_or(now);
        for since in self.held.values_mut().filter_map(|held| held.since.as_mut()) {
            *since = lingered.min(*since);
        }
    }

    /// Notes the answer to a settlement. Returns whether a refusal would be news.
    pub(crate) fn settled(&mut self, settlement: &Settlement, accepted: bool) -> bool {
        self.unsettled = self.unsettled.saturating_sub(settlement.size());
        let Some(held) = self.held.get_mut(&settlement.token) else {
            return false;
        };
        held.settling = false;
        let news = !held.uncertain;
        held.uncertain = false;
        if !accepted || settlement.whole {
            self.forget(settlement.token);
        }
        news
    }

    /// Makes a settlement due again at once, because its result is unknown.
    pub(crate) fn failed(&mut self, settlement: Settlement, now: Instant) {
        let Some(held) = self.held.get_mut(&settlement.token) else {
            self.unsettled = self.unsettled.saturating_sub(settlement.size());
            return;
        };
        held.settling = false;
        held.uncertain = true;
        held.since = Some(now.checked_sub(LINGER).unwrap_or(now));
        held.names_acknowledged |= settlement.names_acknowledged;
        held.done.extend(settlement.done);
        held.dispositions.extend(settlement.dispositions);
    }

    fn forget(&mut self, token: LeaseToken) {
        if let Some(held) = self.held.remove(&token) {
            self.outstanding -= held.outstanding;
            self.bytes -= held.unanswered().map(|(_, bytes)| bytes).sum::<usize>();
            self.unsettled = self.unsettled.saturating_sub(held.done.len() + held.dispositions.len());
        }
    }

    /// Returns the number of events that were handed out and are not answered.
    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Returns the bytes of the events that were handed out and are not answered.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the events that were handed out and are not answered.
    pub(crate) fn unanswered(&self) -> Vec<(LeaseToken, EventId)> {
        let of_leases = self
            .held
            .iter()
            .flat_map(|(&token, held)| held.unanswered().map(move |(event, _)| (token, event)));
        of_leases.collect()
    }

    /// Returns the number of answers that are not settled yet.
    pub(crate) fn unsettled(&self) -> usize {
        self.unsettled
    }

    /// Whether an answer waits for the rest of its lease.
    pub(crate) fn lingers(&self) -> bool {
        self.held.values().any(|held| held.since.is_some() && !held.settling)
    }

    /// Whether nothing is held.
    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Returns the tokens of all leases.
    pub(crate) fn tokens(&self) -> Vec<i64> {
        self.held.keys().map(|token| token.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Start = Start { attempt: 1, panics: 0 };

    /// Answers an event. Returns false if it is not held any more.
    fn answer(
        leases: &mut Leases,
        token: LeaseToken,
        event: EventId,
        disposition: Option<Disposition>,
        now: Instant,
    ) -> bool {
        let start = leases.take(token, event);
        if start.is_some() {
            leases.answered(token, event, disposition, now);
        }
        start.is_some()
    }

    fn retry(id: i64) -> Disposition {
        Disposition { id, action: Action::Retry, delay: Duration::from_secs(1), error: None }
    }

    #[test]
    fn deliveries_that_a_handler_has_settled_are_named() {
        let now = Instant::now();
        let mut leases = Leases::default();
        leases.hold(LeaseToken(1), EventId(10), START, 7);
        leases.name_acknowledged(LeaseToken(1));
        answer(&mut leases, LeaseToken(1), EventId(10), None, now);
        for _ in 0..2 {
            let settlement = leases.settlements(now).pop().unwrap();
            assert!(settlement.is_whole());
            assert_eq!(settlement.acknowledged(), Some(&[10][..]));
            leases.failed(settlement, now);
        }
    }

    #[test]
    fn a_lease_answered_in_full_is_settled_at_once_and_whole() {
        let now = Instant::now();
        let mut leases = Leases::default();
        leases.hold(LeaseToken(1), EventId(10), START, 7);
        leases.hold(LeaseToken(1), EventId(11), START, 7);
        assert!(answer(&mut leases, LeaseToken(1), EventId(10), None, now));
        assert_eq!(leases.settlements(now), []);
        assert!(answer(&mut leases, LeaseToken(1), EventId(11), Some(retry(11)), now));
        let ready = leases.settlements(now);
        assert!(ready[0].is_whole());
        assert_eq!(ready[0].acknowledged(), Some([10].as_slice()), "named beside a disposition");
        assert_eq!(ready[0].dispositions, [retry(11)]);
        assert!(leases.settled(&ready[0], true));
        assert!(leases.is_empty());
        assert_eq!((leases.outstanding(), leases.bytes(), leases.unsettled()), (0, 0, 0));
    }

    #[test]
    fn a_slow_event_does_not_keep_the_finished_ones_unsettled() {
        let now = Instant::now();
        let mut leases = Leases::default();
        leases.hold(LeaseToken(1), EventId(10), START, 7);
        leases.hold(LeaseToken(1), EventId(11), START, 7);
        answer(&mut leases, LeaseToken(1), EventId(10), None, now);
        assert!(leases.lingers());
        let ready = leases.settlements(now + LINGER);
        assert_eq!(ready[0].acknowledged(), Some([10].as_slice()));
        leases.settled(&ready[0], true);
        assert_eq!((leases.outstanding(), leases.bytes(), leases.unsettled()), (1, 7, 0));
        assert_eq!(leases.unanswered(), [(LeaseToken(1), EventId(11))]);
        assert!(!answer(&mut leases, LeaseToken(1), EventId(10), None, now), "it was answered before");
        assert_eq!(leases.take(LeaseToken(1), EventId(11)), Some(START));
    }

    #[test]
    fn an_answer_under_a_lease_that_is_gone_is_refused() {
        assert!(!answer(&mut Leases::default(), LeaseToken(1), EventId(10), None, Instant::now()));
    }

    #[test]
    fn a_settlement_of_unknown_result_is_sent_again() {
        let now = Instant::now();
        let mut leases = Leases::default();
        leases.hold(LeaseToken(1), EventId(10), START, 7);
        answer(&mut leases, LeaseToken(1), EventId(10), None, now);
        let first = leases.settlements(now).remove(0);
        leases.failed(first, now);
        let second = leases.settlements(now).remove(0);
        assert!(!leases.settled(&second, false));
        assert!(leases.is_empty());
    }

    proptest! {
        /// In every order of answers, settlements and failures, each answer is settled once and nothing is left.
        #[test]
        fn every_answer_is_settled_and_nothing_is_left(
            sizes in proptest::collection::vec(1usize..20, 1..8), steps in proptest::collection::vec(0u8..4, 0..200),
        ) {
            let mut now = Instant::now();
            let mut leases = Leases::default();
            let mut waiting: Vec<(LeaseToken, EventId)> = Vec::new();
            for (token, &size) in sizes.iter().enumerate() {
                for n in 0..size {
                    let (token, event) = (LeaseToken(token as i64), EventId((token * 100 + n) as i64));
                    leases.hold(token, event, START, 7);
                    waiting.push((token, event));
                }
            }
            let total = waiting.len();
            let (mut flying, mut settled) = (Vec::<Settlement>::new(), 0);
            for step in steps.into_iter().chain(std::iter::repeat_n([0, 1, 2], total * 3).flatten()) {
                now += Duration::from_millis(30);
                match step {
                    0 => if let Some((token, event)) = waiting.pop() {
                        let disposition = (event.0 % 3 == 0).then(|| retry(event.0));
                        prop_assert!(answer(&mut leases, token, event, disposition, now));
                    },
                    1 => flying.extend(leases.settlements(now)),
                    2 => if let Some(settlement) = flying.pop() {
                        settled += settlement.size();
                        leases.settled(&settlement, true);
                    },
                    _ => if let Some(settlement) = flying.pop() {
                        leases.failed(settlement, now);
                    },
                }
            }
            prop_assert_eq!(settled, total);
            prop_assert!(leases.is_empty());
            prop_assert_eq!((leases.outstanding(), leases.bytes(), leases.unsettled()), (0, 0, 0));
        }
    }
}
