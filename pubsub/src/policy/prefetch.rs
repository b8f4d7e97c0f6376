//! Decides how many events to claim ahead of the handler.

use crate::policy::leases::LINGER;
use std::time::Duration;

/// The longest window: the work that may be leased and not started in this process, measured as a time. A slow handler keeps
/// this much work from other processes, and after a crash this much work runs again. The window is as long as [`CLAIMS_AHEAD`]
/// claims take, so that the handler has work until the next claim returns, and at least [`SHORTEST_WINDOW`].
pub(crate) const LONGEST_WINDOW: Duration = Duration::from_millis(250);

/// See [`LONGEST_WINDOW`].
pub(crate) const SHORTEST_WINDOW: Duration = Duration::from_millis(25);

/// See [`LONGEST_WINDOW`].
const CLAIMS_AHEAD: f64 = 4.0;

/// The most events that one subscription holds in one process.
pub(crate) const MAX_OUTSTANDING: usize = 1_000;

/// The most events in one claim. Beyond 500, a claim costs more memory than it saves time.
pub(crate) const MAX_BATCH: usize = 500;

/// The weight of the newest measurement in a moving average.
const WEIGHT: f64 = 0.3;

/// The capacity of one handler, measured by the deliveries that it has finished.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Prefetch {
    concurrency: usize,
    /// Deliveries per second while any run; `None` until the first is measured.
    rate: Option<f64>,
    /// The seconds that a claim takes; zero until the first is measured.
    claim_time: f64,
    /// The most deliveries that ever ran at once. A handler that never yields has 1, whatever its concurrency.
    peak: usize,
    /// The events of the last claim that the handler did not get; zero if it got the larger part.
    refused: usize,
}

impl Prefetch {
    /// Returns the prefetch of a handler that may work on `concurrency` deliveries at once.
    pub(crate) fn new(concurrency: usize) -> Self {
        Self { concurrency: concurrency.max(1), rate: None, claim_time: 0.0, peak: 1, refused: 0 }
    }

    /// Learns from `completed` deliveries that took `busy` together, up to `peak` of them at once.
    pub(crate) fn observe(&mut self, completed: usize, busy: Duration, peak: usize) {
        self.peak = self.peak.max(peak);
        if completed == 0 {
            return;
        }
        // A precise clock can still measure nothing for a handler that does nothing.
        let rate = completed as f64 / busy.as_secs_f64().max(1e-6);
        self.rate = Some(self.rate.map_or(rate, |known| known + WEIGHT * (rate - known)));
    }

    /// Learns from a claim that took this long.
    pub(crate) fn observe_claim(&mut self, took: Duration) {
        self.claim_time += WEIGHT * (took.as_secs_f64() - self.claim_time);
    }

    /// Learns from a claim of this many events, of which the handler does not get `refused`: their version is too new, for example.
    pub(crate) fn observe_refused(&mut self, claimed: usize, refused: usize) {
        self.refused = if 2 * refused > claimed { refused } else { 0 };
    }

    /// Returns the length of the window, in seconds.
    fn window(&self) -> f64 {
        (CLAIMS_AHEAD * self.claim_time).clamp(SHORTEST_WINDOW.as_secs_f64(), LONGEST_WINDOW.as_secs_f64())
    }

    /// The number of events that the process should hold: enough to keep every slot of the handler busy, and at most a window's
    /// worth. Slots that were never used at once are tried one doubling at a time.
    pub(crate) fn target(&self) -> usize {
        let slots = self.concurrency.min(self.peak * 2);
        let window = self.rate.map_or(0.0, |rate| rate * self.window());
        (window as usize).clamp(slots.min(MAX_OUTSTANDING), MAX_OUTSTANDING)
    }

    /// The number of deliveries that may have started and be unsettled: all slots of the handler, and the deliveries that it
    /// finishes while its answers linger and are written, with a quarter to spare. A higher limit would make more events
    /// suspects after a crash.
    pub(crate) fn start_limit(&self) -> usize {
        let written_after = LINGER.as_secs_f64() + self.claim_time;
        let finished = self.rate.map_or(0.0, |rate| rate * written_after * 1.25);
        (self.concurrency + finished as usize).min(MAX_OUTSTANDING)
    }

    /// The number of events to claim now, while `outstanding` are held; 0 while that is more than half of the target. Half, so
    /// that a claim is worth its transaction and still returns before the handler runs dry.
    pub(crate) fn claim_size(&self, outstanding: usize) -> usize {
        let target = self.target();
        if outstanding > target / 2 && outstanding >= self.concurrency.min(self.peak * 2) {
            return 0;
        }
        // More of the same probably follow, and they are no work for the handler.
        target
            .saturating_sub(outstanding)
            .max(2 * self.refused)
            .min(MAX_BATCH.min(MAX_OUTSTANDING.saturating_sub(outstanding)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slow_handler_that_never_yields_holds_back_next_to_nothing() {
        let mut prefetch = Prefetch::new(16);
        prefetch.observe(1, Duration::from_secs(1), 1);
        assert_eq!(prefetch.target(), 2);
    }

    #[test]
    fn a_handler_that_waits_gets_all_its_slots_by_doubling() {
        let mut prefetch = Prefetch::new(16);
        let mut targets = Vec::new();
        for _ in 0..5 {
            let slots = prefetch.target().min(16);
            targets.push(slots);
            prefetch.observe(slots, Duration::from_secs(1), slots);
        }
        assert_eq!(targets, [2, 4, 8, 16, 16]);
    }

    #[test]
    fn a_distant_database_makes_the_handler_hold_more() {
        let mut prefetch = Prefetch::new(1);
        prefetch.observe(1_000, Duration::from_secs(1), 1);
        assert_eq!(prefetch.target(), 25);
        for _ in 0..50 {
            prefetch.observe_claim(Duration::from_millis(20));
        }
        assert_eq!(prefetch.target(), 79, "a thousand a second for just under 80 ms");
        for _ in 0..50 {
            prefetch.observe_claim(Duration::from_secs(5));
        }
        assert_eq!(prefetch.target(), 250, "at most a quarter of a second's worth");
    }

    #[test]
    fn a_fast_handler_is_fed_in_full_batches() {
        let mut prefetch = Prefetch::new(16);
        for _ in 0..10 {
            prefetch.observe(100, Duration::from_micros(200), 1);
        }
        assert_eq!(prefetch.target(), MAX_OUTSTANDING);
        assert_eq!(prefetch.claim_size(0), MAX_BATCH);
        assert_eq!(prefetch.claim_size(MAX_OUTSTANDING / 2 + 1), 0);
    }

    #[test]
    fn a_slow_handler_has_a_low_start_limit() {
        let mut prefetch = Prefetch::new(16);
        assert_eq!(prefetch.start_limit(), 16);
        for _ in 0..20 {
            prefetch.observe(16, Duration::from_millis(20), 16);
        }
        assert_eq!(prefetch.start_limit(), 36, "800 a second for 25 ms");
    }

    #[test]
    fn refused_events_come_in_ever_larger_claims() {
        let mut prefetch = Prefetch::new(16);
        let mut claims = 0;
        let mut left = 30_000_usize;
        while left > 0 {
            let size = prefetch.claim_size(0).min(left);
            prefetch.observe_refused(size, size);
            (left, claims) = (left - size, claims + 1);
        }
        assert!(claims < 70, "{claims} claims");
        prefetch.observe_refused(500, 0);
        assert_eq!(prefetch.claim_size(0), 2);
    }

    proptest! {
        #[test]
        fn an_idle_handler_is_always_fed_and_none_is_overfed(
            concurrency in 0usize..100_000, completed in 0usize..10_000, busy in any::<u32>(), peak in 0usize..10_000,
            outstanding in 0usize..5_000,
        ) {
            let mut prefetch = Prefetch::new(concurrency);
            prefetch.observe(completed, Duration::from_nanos(busy.into()), peak);
            prop_assert!(prefetch.claim_size(0) >= 1);
            prop_assert!((1..=MAX_OUTSTANDING).contains(&prefetch.start_limit()));
            prop_assert!(prefetch.claim_size(outstanding) <= MAX_BATCH);
            prop_assert!(outstanding + prefetch.claim_size(outstanding) <= MAX_OUTSTANDING.max(outstanding));
        }
    }
}
