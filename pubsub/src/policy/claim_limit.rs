//! Decides how large a claim may be, by its events and by their bytes.

use crate::policy::prefetch::MAX_BATCH;
use std::time::Duration;

/// The bytes after which a claim takes no further event.
pub(crate) const MAX_CLAIM_BYTES: usize = 4 * 1024 * 1024;

/// The bytes of events that one subscription holds in one process, claimed and not answered. The last event may go beyond it.
pub(crate) const MAX_HELD_BYTES: usize = 8 * 1024 * 1024;

/// The bytes of events that all subscriptions of one process hold together: each has an equal share of it.
const MAX_PROCESS_BYTES: usize = 256 * 1024 * 1024;

/// The duration from which a claim was too large. It is a fraction of the deadline, so that a claim is made smaller before it
/// fails.
const SLOW: Duration = Duration::from_secs(2);

/// The most that the next claim asks for. A claim that fails or is slow halves it, and any other doubles it again.
#[derive(Debug)]
pub(crate) struct ClaimLimit {
    events: usize,
    bytes: usize,
    /// The bytes that may be held.
    share: usize,
    /// The mean size of the last events. The database measures no more events than may fit.
    mean: usize,
}

impl ClaimLimit {
    /// Returns the limit of one subscription, of this many in the process.
    pub(crate) fn new(subscriptions: usize) -> Self {
        let share = (MAX_PROCESS_BYTES / subscriptions.max(1)).min(MAX_HELD_BYTES);
        Self { events: MAX_BATCH, bytes: MAX_CLAIM_BYTES, share, mean: 0 }
    }

    /// Returns the events and the bytes to ask for, while events of `held` bytes are held and there is room for `room` more
    /// events. That is nothing while more than half of the share is held, so that a claim is worth its transaction.
    pub(crate) fn size(&self, room: usize, held: usize) -> (usize, usize) {
        if held > self.share / 2 {
            return (0, 0);
        }
        let bytes = self.bytes.min(self.share - held).max(1);
        let fitting = (2 * bytes).checked_div(self.mean).unwrap_or(MAX_BATCH).max(1);
        (room.min(self.events).min(fitting), bytes)
    }

    /// Learns from a claim that took this long, and returned so many events of so many bytes in all.
    pub(crate) fn claimed(&mut self, events: usize, bytes: usize, took: Duration) {
        if events == 0 {
            return;
        }
        self.mean = bytes / events;
        if took >= SLOW {
            self.halve((events, bytes));
        } else {
            self.events = (self.events * 2).min(MAX_BATCH);
            self.bytes = (self.bytes * 2).min(MAX_CLAIM_BYTES);
        }
    }

    /// Makes the next claim at most half as large as the one that asked for so many events and bytes.
    pub(crate) fn halve(&mut self, (events, bytes): (usize, usize)) {
        self.events = (events.min(self.events) / 2).max(1);
        self.bytes = (bytes.min(self.bytes) / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_events_are_claimed_in_full_batches() {
        let mut limit = ClaimLimit::new(1);
        limit.claimed(500, 500 * 200, Duration::from_millis(5));
        assert_eq!(limit.size(MAX_BATCH, 0), (MAX_BATCH, MAX_CLAIM_BYTES));
    }

    #[test]
    fn a_thousand_subscriptions_share_the_bytes_of_a_process() {
        let limit = ClaimLimit::new(1_000);
        let (events, bytes) = limit.size(MAX_BATCH, 0);
        assert!(events > 0 && 1_000 * bytes <= MAX_PROCESS_BYTES, "{bytes} bytes each");
    }

    proptest! {
        /// Whatever a link carries before the deadline, at least one event, soon comes through; and then in claims that are not
        /// smaller than need be.
        #[test]
        fn a_claim_that_fails_is_halved_until_it_comes_through(
            carries in 1usize..200_000_000, size in 1usize..300_000, subscriptions in 1usize..2_000,
        ) {
            let mut limit = ClaimLimit::new(subscriptions);
            let answer = |(events, bytes): (usize, usize)| events.min(bytes.div_ceil(size)).max(1);
            let mut failures = 0;
            while answer(limit.size(MAX_BATCH, 0)) > (carries / size).max(1) {
                limit.halve(limit.size(MAX_BATCH, 0));
                failures += 1;
                prop_assert!(failures <= 10, "{:?}", limit);
            }
            let came = answer(limit.size(MAX_BATCH, 0));
            limit.claimed(came, came * size, Duration::ZERO);
            prop_assert!(answer(limit.size(MAX_BATCH, 0)) >= came.min(2 * limit.bytes / size), "{:?}", limit);
        }

        #[test]
        fn no_more_than_the_share_and_one_event_is_held(
            claims in proptest::collection::vec((1usize..500_000, 0u64..5_000, any::<bool>()), 1..100),
            subscriptions in 1usize..2_000,
        ) {
            let mut limit = ClaimLimit::new(subscriptions);
            let mut held = 0;
            for (size, took, fails) in claims {
                let (events, bytes) = limit.size(MAX_BATCH, held);
                prop_assert!(held > 0 || events > 0, "nothing is held, and nothing is claimed");
                if events == 0 {
                    held = 0;
                } else if fails {
                    limit.halve((events, bytes));
                } else {
                    let came = events.min(bytes.div_ceil(size));
                    held += came * size;
                    prop_assert!(held < limit.share + size, "{} of {:?}", held, limit);
                    limit.claimed(came, came * size, Duration::from_millis(took));
                }
            }
        }
    }
}
