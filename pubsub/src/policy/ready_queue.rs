//! Decides which claimed events go to the handler.

use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::policy::leases::Settlement;
use crate::policy::order::Order;
use std::collections::{HashSet, VecDeque};

/// Claimed events on their way to the handler, in the order of their claims.
///
/// The queue respects the start limit of each claim: an event starts only once fewer than that many of the events claimed
/// before it are unsettled. If this process dies, the events beyond the limit have certainly not started, and are not suspects.
/// In an ordered subscription the queue also keeps the order of each key.
#[derive(Debug, Default)]
pub(crate) struct ReadyQueue {
    waiting: VecDeque<Waiting>,
    order: Option<Order>,
}

#[derive(Debug)]
struct Waiting {
    event: ClaimedEvent,
    start_limit: usize,
}

impl ReadyQueue {
    pub(crate) fn new(ordered: bool) -> Self {
        Self { waiting: VecDeque::new(), order: ordered.then(Order::default) }
    }

    /// Adds the events of one claim. Returns the events that must go to the mailbox, because an earlier event of their key has
    /// failed.
    pub(crate) fn push(
        &mut self,
        events: Vec<ClaimedEvent>,
        start_limit: usize,
        from_mailbox: bool,
    ) -> Vec<ClaimedEvent> {
        let mut parked = Vec::new();
        for event in events {
            if let Some(order) = &mut self.order {
                if from_mailbox {
                    order.claimed_from_mailbox(event.token);
                }
                if event.key.as_deref().is_some_and(|key| order.is_parked(key)) {
                    parked.push(event);
                    continue;
                }
            }
            self.waiting.push_back(Waiting { event, start_limit });
        }
        parked
    }

    /// Removes the events that may start and returns them. `unsettled` is the number of earlier events that are not settled.
    pub(crate) fn release(&mut self, unsettled: usize) -> Vec<ClaimedEvent> {
        let within = |&(before, waiting): &(usize, &Waiting)| unsettled + before < waiting.start_limit;
        let count = self.waiting.iter().enumerate().take_while(within).count();
        let Some(order) = &mut self.order else {
            return self.waiting.drain(..count).map(|waiting| waiting.event).collect();
        };
        let mut released = Vec::new();
        let mut held_up = VecDeque::with_capacity(count);
        let mut keys_held_up: HashSet<String> = HashSet::new();
        for waiting in self.waiting.drain(..count) {
            let Waiting { event, .. } = &waiting;
            match &event.key {
                Some(key) if keys_held_up.contains(key) || !order.is_free(key) => {
                    keys_held_up.insert(key.clone());
                    held_up.push_back(waiting);
                    continue;
                }
                Some(key) => order.starts((event.token, event.id), key),
                None => {}
            }
            released.push(waiting.event);
        }
        while let Some(waiting) = held_up.pop_back() {
            self.waiting.push_front(waiting);
        }
        released
    }

    /// Notes that an event has left the handler. Returns the events of its key that must go to the mailbox with it.
    pub(crate) fn ended(&mut self, token: LeaseToken, event: EventId, done: bool) -> Vec<ClaimedEvent> {
        let failed = self.order.as_mut().and_then(|order| order.ended((token, event), done));
        let Some(failed) = failed else { return Vec::new() };
        let (behind, rest) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition::<VecDeque<_>, _>(|waiting| waiting.event.key.as_ref() == Some(&failed));
        self.waiting = rest;
        behind.into_iter().map(|waiting| waiting.event).collect()
    }

    /// Notes that an event is returned to the mailbox before it has started.
    pub(crate) fn returned(&mut self, event: &ClaimedEvent) {
        if let (Some(order), Some(key)) = (&mut self.order, &event.key) {
            order.park((event.token, event.id), key);
        }
    }

    /// Removes the events of a lease that is lost.
    pub(crate) fn lost(&mut self, token: LeaseToken) {
        self.waiting.retain(|waiting| waiting.event.token != token);
    }

    /// Notes the answer to a settlement; `over` means that its lease has ended. Returns whether deliveries of the mailbox may
    /// have become due.
    pub(crate) fn settled(&mut self, settlement: &Settlement, over: bool, claiming: bool) -> bool {
        let Some(order) = &mut self.order else { return false };
        let parked: Vec<EventId> = settlement.dispositions.iter().map(|d| EventId(d.id)).collect();
        order.settled(settlement.token, &parked, over, claiming)
    }

    /// Notes that the claim under way has ended and its events were added.
    pub(crate) fn claim_over(&mut self) {
        if let Some(order) = &mut self.order {
            order.claim_over();
        }
    }

    /// Removes all events and returns them.
    pub(crate) fn recall(&mut self) -> Vec<ClaimedEvent> {
        std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.event).collect()
    }

    /// Returns the number of events that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn events_beyond_the_start_limit_wait_for_settlements() {
        let mut ready = ReadyQueue::default();
        ready.push((0..10).map(ClaimedEvent::sample).collect(), 4, false);
        assert_eq!(ready.release(0).len(), 4);
        assert_eq!(ready.release(4).len(), 0);
        assert_eq!(ready.release(1).len(), 3);
        assert_eq!(ready.recall().len(), 3);
    }

    fn keyed(id: i64, key: &str) -> ClaimedEvent {
        ClaimedEvent { key: Some(key.to_owned()), ..ClaimedEvent::sample(id) }
    }

    fn ids(events: &[ClaimedEvent]) -> Vec<i64> {
        events.iter().map(|event| event.id.0).collect()
    }

    #[test]
    fn one_event_of_each_key_is_with_the_handler() {
        let mut ready = ReadyQueue::new(true);
        let events = vec![
            keyed(1, "a"),
            keyed(2, "a"),
            keyed(3, "b"),
            ClaimedEvent::sample(4),
            ClaimedEvent::sample(5),
            keyed(6, "a"),
        ];
        ready.push(events, 10, false);
        assert_eq!(ids(&ready.release(0)), [1, 3, 4, 5]);
        assert_eq!(ids(&ready.release(4)), [] as [i64; 0]);
        assert_eq!(ids(&ready.ended(LeaseToken(1), EventId(1), true)), [] as [i64; 0]);
        assert_eq!(ids(&ready.release(3)), [2]);
    }

    #[test]
    fn later_events_of_a_key_that_failed_are_returned() {
        let mut ready = ReadyQueue::new(true);
        ready.push(vec![keyed(1, "a"), keyed(2, "a"), keyed(3, "b")], 10, false);
        assert_eq!(ids(&ready.release(0)), [1, 3]);
        assert_eq!(ids(&ready.ended(LeaseToken(1), EventId(1), false)), [2]);
        assert_eq!(ids(&ready.push(vec![keyed(4, "a"), keyed(5, "c")], 10, false)), [4]);
        assert_eq!(ids(&ready.release(1)), [5]);
    }

    proptest! {
        #[test]
        fn events_start_in_order_and_within_their_start_limit(
            claims in proptest::collection::vec((1usize..20, 1usize..30), 1..10),
            settle in proptest::collection::vec(0usize..10, 0..60),
        ) {
            let mut ready = ReadyQueue::default();
            let mut limits = Vec::new();
            for (size, limit) in claims {
                let first = limits.len() as i64;
                limits.extend(std::iter::repeat_n(limit, size));
                ready.push((first..first + size as i64).map(ClaimedEvent::sample).collect(), limit, false);
            }
            let (mut next, mut unsettled) = (0, 0usize);
            for settled in settle.into_iter().chain(std::iter::repeat_n(usize::MAX, limits.len())) {
                unsettled = unsettled.saturating_sub(settled);
                for event in ready.release(unsettled) {
                    prop_assert_eq!(event.id.0, next as i64);
                    prop_assert!(unsettled < limits[next]);
                    unsettled += 1;
                    next += 1;
                }
            }
            prop_assert_eq!(next, limits.len(), "everything starts, once enough is settled");
        }
    }
}
