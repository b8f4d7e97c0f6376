//! The count of handled events, by distinct numbers.

use crate::clock;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;

/// Counts the calls of handlers, and the events for which there was one.
#[derive(Debug)]
pub(crate) struct Tally {
    events: u64,
    expected: u64,
    /// A bit for each event and consumer.
    handled: Vec<AtomicU64>,
    /// The moment of each event's first call, or 0.
    entered: Option<Vec<AtomicU64>>,
    calls: AtomicU64,
    distinct: AtomicU64,
    complete: Notify,
}

impl Tally {
    pub(crate) fn new(events: u64, consumers: usize, with_times: bool) -> Self {
        let expected = events * consumers as u64;
        let zeros = |number: u64| (0..number).map(|_| AtomicU64::new(0)).collect();
        Self {
            events,
            expected,
            handled: zeros(expected.div_ceil(64)),
            entered: with_times.then(|| zeros(events)),
            calls: AtomicU64::new(0),
            distinct: AtomicU64::new(0),
            complete: Notify::new(),
        }
    }

    /// A handler is called with an event.
    pub(crate) fn enter(&self, order: u64) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(first) = self.entered.as_ref().and_then(|entered| entered.get(order as usize)) {
            // Only the first attempt counts, so a failed exchange is right.
            let _ = first.compare_exchange(0, clock::now(), Ordering::Relaxed, Ordering::Relaxed);
        }
    }

    /// A handler has done its work.
    pub(crate) fn finish(&self, consumer: usize, order: u64) {
        let at = consumer as u64 * self.events + order;
        let Some(word) = self.handled.get((at / 64) as usize) else { return };
        let bit = 1 << (at % 64);
        if word.fetch_or(bit, Ordering::Relaxed) & bit == 0
            && self.distinct.fetch_add(1, Ordering::Relaxed) + 1 == self.expected
        {
            self.complete.notify_one();
        }
    }

    /// Waits until every consumer has handled every event.
    pub(crate) async fn completed(&self) {
        self.complete.notified().await;
    }

    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub(crate) fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Relaxed)
    }

    /// The moments of the first calls, one for each event; 0 where there was none.
    pub(crate) fn entered(&self) -> Vec<u64> {
        self.entered.iter().flatten().map(|moment| moment.load(Ordering::Relaxed)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_call_counts_as_a_call_only() {
        let tally = Tally::new(2, 2, true);
        for (consumer, order) in [(0, 0), (0, 0), (0, 1), (1, 0), (1, 1)] {
            tally.enter(order);
            tally.finish(consumer, order);
        }
        assert_eq!((tally.calls(), tally.distinct()), (5, 4));
        assert!(tally.entered().iter().all(|moment| *moment > 0));
    }
}
