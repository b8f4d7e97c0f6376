//! Decides which of the claimed events go to the handler now.

use crate::model::event::ClaimedEvent;
use std::collections::VecDeque;

/// Claimed events on their way to the handler, in the order of claiming.
///
/// It keeps the promise that was made with each claim: an event begins only once fewer than `begins` of those claimed
/// before it are not settled. What stands beyond that has not begun for certain, should this process die, and is not
/// blamed for its death.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    event: ClaimedEvent,
    begins: usize,
}

impl Feed {
    /// Takes in what one claim brought.
    pub(crate) fn push(&mut self, events: Vec<ClaimedEvent>, begins: usize) {
        self.waiting.extend(events.into_iter().map(|event| Waiting { event, begins }));
    }

    /// The events that may begin, while `unsettled` of those that went before are not settled.
    pub(crate) fn release(&mut self, unsettled: usize) -> Vec<ClaimedEvent> {
        let free = |&(before, waiting): &(usize, &Waiting)| unsettled + before < waiting.begins;
        let count = self.waiting.iter().enumerate().take_while(free).count();
        self.waiting.drain(..count).map(|waiting| waiting.event).collect()
    }

    /// Gives up all that waits.
    pub(crate) fn recall(&mut self) -> Vec<ClaimedEvent> {
        std::mem::take(&mut self.waiting).into_iter().map(|waiting| waiting.event).collect()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{EventId, Token};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn event(id: i64) -> ClaimedEvent {
        ClaimedEvent {
            id: EventId(id),
            process: 1,
            token: Token(1),
            attempt: 1,
            panics: 0,
            crashes: 0,
            key: None,
            payload: Vec::new(),
            headers: None,
            version: 1,
            published_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_is_beyond_the_promise_waits_for_settlements() {
        let mut feed = Feed::default();
        feed.push((0..10).map(event).collect(), 4);
        assert_eq!(feed.release(0).len(), 4);
        assert_eq!(feed.release(4).len(), 0);
        assert_eq!(feed.release(1).len(), 3);
        assert_eq!(feed.recall().len(), 3);
    }

    proptest! {
        #[test]
        fn events_come_in_the_order_of_claiming_and_never_beyond_their_promise(
            claims in proptest::collection::vec((1usize..20, 1usize..30), 1..10),
            settle in proptest::collection::vec(0usize..10, 0..60),
        ) {
            let mut feed = Feed::default();
            let mut promises = Vec::new();
            for (size, begins) in claims {
                let first = promises.len() as i64;
                promises.extend(std::iter::repeat_n(begins, size));
                feed.push((first..first + size as i64).map(event).collect(), begins);
            }
            let (mut next, mut unsettled) = (0, 0usize);
            for settled in settle.into_iter().chain(std::iter::repeat_n(usize::MAX, promises.len())) {
                unsettled = unsettled.saturating_sub(settled);
                for event in feed.release(unsettled) {
                    prop_assert_eq!(event.id.0, next as i64);
                    prop_assert!(unsettled < promises[next]);
                    unsettled += 1;
                    next += 1;
                }
            }
            prop_assert_eq!(next, promises.len(), "everything begins, once enough is settled");
        }
    }
}
