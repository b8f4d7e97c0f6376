//! Decides which keys may start now, in an ordered subscription.

use crate::model::event::{EventId, LeaseToken};
use std::collections::{HashMap, HashSet};

/// One start of one event.
type Place = (LeaseToken, EventId);

/// The keys of the events that an ordered subscription holds in this process. An event may start only once the earlier events
/// of its key are done.
///
/// An event that is not done goes to the mailbox, and the later events of its key must go there behind it. The database parks
/// the events that are claimed after that. This process returns the events that were claimed before. So a key is *parked* until
/// its events are written to the mailbox, and until every claim that may have missed them has ended.
#[derive(Debug, Default)]
pub(crate) struct Order {
    /// The events that are with the handler, and their keys.
    running: HashMap<Place, String>,
    busy: HashSet<String>,
    /// The events on their way to the mailbox, by key.
    parked: HashMap<String, HashSet<Place>>,
    /// The keys whose events were written while a claim was under way.
    written: HashSet<String>,
    /// The leases that came from the mailbox.
    from_mailbox: HashSet<LeaseToken>,
}

impl Order {
    /// Whether no event of this key is with the handler, or on its way to the mailbox.
    pub(crate) fn is_free(&self, key: &str) -> bool {
        !self.busy.contains(key) && !self.is_parked(key)
    }

    /// Whether an event of this key is on its way to the mailbox.
    pub(crate) fn is_parked(&self, key: &str) -> bool {
        self.parked.contains_key(key)
    }

    /// Notes that a lease came from the mailbox.
    pub(crate) fn claimed_from_mailbox(&mut self, token: LeaseToken) {
        self.from_mailbox.insert(token);
    }

    /// Notes that an event goes to the handler.
    pub(crate) fn starts(&mut self, place: Place, key: &str) {
        self.busy.insert(key.to_owned());
        self.running.insert(place, key.to_owned());
    }

    /// Notes that an event has left the handler. If it is not done, parks its key and returns it.
    pub(crate) fn ended(&mut self, place: Place, done: bool) -> Option<String> {
        let key = self.running.remove(&place)?;
        self.busy.remove(&key);
        if done {
            return None;
        }
        self.park(place, &key);
        Some(key)
    }

    /// Notes that an event goes to the mailbox.
    pub(crate) fn park(&mut self, place: Place, key: &str) {
        self.written.remove(key);
        self.parked.entry(key.to_owned()).or_default().insert(place);
    }

    /// Notes that these events of a lease are settled, or, with `all`, that the lease has ended. Returns whether deliveries of
    /// their keys in the mailbox may have become due.
    pub(crate) fn settled(
        &mut self,
        token: LeaseToken,
        events: &[EventId],
        all: bool,
        claiming: bool,
    ) -> bool {
        let written = &mut self.written;
        self.parked.retain(|key, places| {
            places.retain(|(of, event)| *of != token || !(all || events.contains(event)));
            if places.is_empty() && claiming {
                written.insert(key.clone());
            }
            !places.is_empty() || claiming
        });
        if all { self.from_mailbox.remove(&token) } else { self.from_mailbox.contains(&token) }
    }

    /// Notes that the claim under way has ended and its events were taken in.
    pub(crate) fn claim_over(&mut self) {
        for key in self.written.drain() {
            self.parked.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(token: i64, event: i64) -> Place {
        (LeaseToken(token), EventId(event))
    }

    #[test]
    fn a_key_is_busy_until_its_event_is_done() {
        let mut order = Order::default();
        order.starts(place(1, 1), "a");
        assert!(!order.is_free("a") && order.is_free("b"));
        assert_eq!(order.ended(place(1, 1), true), None);
        assert!(order.is_free("a"));
    }

    #[test]
    fn a_key_that_failed_is_parked_until_that_is_written() {
        let mut order = Order::default();
        order.starts(place(1, 1), "a");
        assert_eq!(order.ended(place(1, 1), false).as_deref(), Some("a"));
        order.park(place(2, 2), "a");
        order.settled(LeaseToken(1), &[EventId(1)], false, false);
        assert!(order.is_parked("a"), "the second is not written yet");
        order.settled(LeaseToken(2), &[], true, false);
        assert!(order.is_free("a"));
    }

    #[test]
    fn a_key_stays_parked_until_a_claim_that_missed_it_is_back() {
        let mut order = Order::default();
        order.starts(place(1, 1), "a");
        order.ended(place(1, 1), false);
        order.settled(LeaseToken(1), &[EventId(1)], true, true);
        assert!(order.is_parked("a"));
        // The claim returns another event of the key, which is parked behind the first one and must be written as well.
        order.park(place(2, 2), "a");
        order.claim_over();
        assert!(order.is_parked("a"));
        order.settled(LeaseToken(2), &[EventId(2)], true, false);
        assert!(order.is_free("a"));
    }

    #[test]
    fn after_an_event_of_the_mailbox_there_may_be_more() {
        let mut order = Order::default();
        order.claimed_from_mailbox(LeaseToken(1));
        assert!(order.settled(LeaseToken(1), &[EventId(1)], false, false));
        assert!(order.settled(LeaseToken(1), &[], true, false));
        assert!(!order.settled(LeaseToken(2), &[], true, false));
    }
}
