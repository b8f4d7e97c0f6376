//! Decides when an actor that has died starts again.

use std::time::{Duration, Instant};

/// The number of restarts within [`WINDOW`] that happen at once. With one more, the actor waits.
pub(crate) const INTENSITY: usize = 5;

/// The time for which a restart counts.
pub(crate) const WINDOW: Duration = Duration::from_secs(30);

/// The first wait after the intensity is exceeded; each further restart doubles it.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The restarts of one actor. An actor is slowed down, but never given up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Restarts {
    recent: Vec<Instant>,
    excess: u32,
    total: u64,
}

impl Restarts {
    /// Notes a death at `now` and returns how long to wait before the restart. `random` (in `0.0..1.0`) spreads the wait over
    /// its upper half, so that actors that die together do not return together.
    pub(crate) fn note(&mut self, now: Instant, random: f64) -> Duration {
        self.total += 1;
        self.recent.retain(|&died| now.saturating_duration_since(died) < WINDOW);
        if self.recent.is_empty() {
            self.excess = 0;
        }
        self.recent.push(now);
        if self.recent.len() <= INTENSITY {
            return Duration::ZERO;
        }
        self.recent.remove(0); // the list stays as long as the intensity
        let wait = FIRST_WAIT.saturating_mul(2_u32.saturating_pow(self.excess)).min(LONGEST_WAIT);
        self.excess = self.excess.saturating_add(1);
        wait.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0))
    }

    /// The number of all restarts.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn after_five_restarts_at_once_the_wait_doubles() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        let waits: Vec<_> =
            (0..9).map(|n| restarts.note(start + Duration::from_secs(n), 1.0).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 1, 2, 4, 8]);
    }

    #[test]
    fn a_quiet_window_forgives_everything() {
        let start = Instant::now();
        let mut restarts = Restarts::default();
        for _ in 0..20 {
            restarts.note(start, 0.0);
        }
        assert_eq!(restarts.note(start + WINDOW, 0.0), Duration::ZERO);
        assert_eq!(restarts.total(), 21);
    }

    proptest! {
        #[test]
        fn every_restart_comes_within_a_minute(deaths in 1usize..200, random in any::<f64>()) {
            let now = Instant::now();
            let mut restarts = Restarts::default();
            for _ in 0..deaths {
                prop_assert!(restarts.note(now, random) <= LONGEST_WAIT);
            }
        }
    }
}
