//! Decides when a process polls the log for all its subscriptions, and which waiter rows it renews with the poll.

use crate::model::backoff::Backoff;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The longest time for which a waiter row that is to be renewed waits for the next poll. It ends before the row's dispatcher
/// renews it by itself.
const RENEWED_WITHIN: Duration = Duration::from_secs(1);

/// The pauses between polls while the database fails, unless the poll interval is longer.
const DATABASE_BACKOFF: Backoff =
    Backoff::exponential(Duration::from_millis(50)).max(Duration::from_secs(5)).jitter(0.5);

/// The polls of one process.
#[derive(Debug)]
pub(crate) struct LogPoll {
    /// The time between two polls.
    interval: Duration,
    /// The time at which the last poll began.
    began: Instant,
    /// The subscriptions whose waiter rows are to be renewed.
    renewals: BTreeSet<i32>,
    /// Failed polls since the last that succeeded.
    failures: u32,
}

impl LogPoll {
    /// Returns the polls of a process that has looked at the log at `now`.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, began: now, renewals: BTreeSet::new(), failures: 0 }
    }

    /// Notes that a subscription's waiter row is to be renewed.
    pub(crate) fn renew(&mut self, subscription: i32) {
        self.renewals.insert(subscription);
    }

    /// Returns the pause before [`begin`](Self::begin) is asked again, if no poll has failed.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        (self.began + self.interval).saturating_duration_since(now).min(RENEWED_WITHIN)
    }

    /// Begins a poll if one is due. Returns the subscriptions whose waiter rows it renews.
    pub(crate) fn begin(&mut self, now: Instant) -> Option<Vec<i32>> {
        let due = !self.renewals.is_empty() || now >= self.began + self.interval;
        due.then(|| {
            self.began = now;
            std::mem::take(&mut self.renewals).into_iter().collect()
        })
    }

    /// Notes that the poll has succeeded. Returns the subscriptions whose dispatchers must look into the log: those that are `unread`,
    /// and those of `renewals` whose waiter row was not `renewed`. It may be gone, and its dispatcher writes it anew.
    pub(crate) fn succeeded(
        &mut self,
        mut unread: Vec<i32>,
        renewals: Vec<i32>,
        renewed: &[i32],
    ) -> Vec<i32> {
        self.failures = 0;
        let renewed = BTreeSet::from_iter(renewed);
        unread.extend(renewals.into_iter().filter(|subscription| !renewed.contains(subscription)));
        unread
    }

    /// Notes that the poll has failed. Returns the pause before the next one. The dispatchers renew their rows by themselves.
    /// `random` is uniform in `0.0..1.0`.
    pub(crate) fn failed(&mut self, random: f64, now: Instant) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.pause(now).max(DATABASE_BACKOFF.delay(self.failures, random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn polls_and_renewals_are_in_time_and_few(
            interval in 1u64..20_000,
            rounds in proptest::collection::vec((0u64..500, proptest::option::of(0u64..1_000)), 1..300),
        ) {
            let interval = Duration::from_millis(interval);
            let mut now = Instant::now();
            let (mut polls, mut last, mut asked) = (LogPoll::new(interval, now), now, None);
            for (takes, renews) in rounds {
                let pause = polls.pause(now);
                if let Some(after) = renews.map(Duration::from_millis).filter(|&after| after <= pause) {
                    polls.renew(1);
                    asked.get_or_insert(now + after);
                }
                now += pause;
                match polls.begin(now) {
                    Some(renewals) => {
                        prop_assert_eq!(renewals.len(), usize::from(asked.is_some()));
                        prop_assert!(!renewals.is_empty() || now >= last + interval, "a poll too many");
                        asked = None;
                        last = now;
                        now += Duration::from_millis(takes);
                    }
                    None => prop_assert!(asked.is_none() && now < last + interval, "a poll is missing"),
                }
                prop_assert!(asked.is_none_or(|asked| now <= asked + RENEWED_WITHIN));
            }
        }

        #[test]
        fn failed_polls_become_few(interval in 1u64..20_000, random in 0.0..1.0) {
            let now = Instant::now();
            let mut polls = LogPoll::new(Duration::from_millis(interval), now);
            let pauses: Vec<_> = (0..20).map(|_| polls.failed(random, now)).collect();
            prop_assert!(pauses[19] >= Duration::from_millis(2_500), "{:?}", pauses);
            prop_assert!(pauses[19] <= Duration::from_millis(7_500), "{:?}", pauses);
        }
    }
}
