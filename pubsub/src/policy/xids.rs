//! Counts the transaction ids that were drawn within some time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The next transaction ids that were read, with their times. They tell the age of an object without a time: if more
/// transaction ids were drawn since it began than within some time, it is older than that time.
#[derive(Debug)]
pub(crate) struct XidHistory {
    within: Duration,
    seen: VecDeque<(Instant, i64)>,
}

impl XidHistory {
    pub(crate) fn new(within: Duration) -> Self {
        Self { within, seen: VecDeque::new() }
    }

    /// Notes the next transaction id at `now`. Returns how many ids were drawn within the time, or `None` until that much time
    /// has passed.
    pub(crate) fn note(&mut self, now: Instant, next_xid: i64) -> Option<i64> {
        self.seen.push_back((now, next_xid));
        let is_old = |at: Instant| now.saturating_duration_since(at) >= self.within;
        // The newest entry that is old enough is the one to compare with.
        while self.seen.get(1).is_some_and(|&(at, _)| is_old(at)) {
            self.seen.pop_front();
        }
        self.seen.front().filter(|&&(at, _)| is_old(at)).map(|&(_, then)| next_xid - then)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_counted_from_the_last_time_that_is_old_enough() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut history = XidHistory::new(second * 10);
        let mut note = |after: u32, xid| history.note(start + second * after, xid);
        assert_eq!(note(0, 100), None);
        assert_eq!(note(9, 150), None);
        assert_eq!(note(10, 160), Some(60));
        assert_eq!(note(18, 200), Some(100), "the first is still the last that is old enough");
        assert_eq!(note(19, 210), Some(60));
        assert_eq!(note(60, 999), Some(789));
    }

    #[test]
    fn it_keeps_no_more_than_it_needs() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut history = XidHistory::new(second * 10);
        for after in 0..1_000 {
            history.note(start + second * after, i64::from(after));
        }
        assert_eq!(history.seen.len(), 11);
    }
}
