//! The delay before the next attempt.

use std::time::Duration;

/// How long a delivery waits after a failed attempt.
///
/// The delay after attempt *n* is `initial × factor^(n-1)`, at most `max`, then moved by up to `jitter` of itself in
/// either direction, so that events which failed together do not come back together.
///
/// # Examples
/// ```
/// use pubsub::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff::new(Duration::from_secs(1), 2.0, Duration::from_secs(60), 0.0);
/// assert_eq!(backoff.delay(1, 0.5), Duration::from_secs(1));
/// assert_eq!(backoff.delay(4, 0.5), Duration::from_secs(8));
/// assert_eq!(backoff.delay(4_000_000_000, 0.5), Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    initial: Duration,
    factor: f64,
    max: Duration,
    jitter: f64,
}

impl Backoff {
    /// 1 s, doubling, at most 15 min, ±20 %: about an hour and a half over ten attempts.
    pub const DEFAULT: Self = Self::new(Duration::from_secs(1), 2.0, Duration::from_secs(15 * 60), 0.2);

    /// Longest delay between two attempts. Past this the operator, not the backoff, should be looking at the
    /// subscription.
    pub const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

    /// A backoff that starts at `initial`, multiplies by `factor` (at least 1) and stops growing at `max`
    /// (at most [`Backoff::LONGEST`]); `jitter` is a share between 0 and 1.
    ///
    /// # Panics
    /// If an argument is outside its range, or `initial` is longer than `max`. In a `const`, and so in
    /// `#[channel(backoff(..))]`, that is a compile error.
    #[must_use]
    pub const fn new(initial: Duration, factor: f64, max: Duration, jitter: f64) -> Self {
        assert!(factor >= 1.0 && factor <= 1e6, "the factor of a backoff is between 1 and 1,000,000");
        assert!(jitter >= 0.0 && jitter <= 1.0, "the jitter of a backoff is between 0 and 1");
        assert!(initial.as_nanos() <= max.as_nanos(), "a backoff cannot start above its maximum");
        assert!(max.as_nanos() <= Self::LONGEST.as_nanos(), "the maximum of a backoff is at most 24 hours");
        Self { initial, factor, max, jitter }
    }

    /// The delay after attempt number `attempt` (from 1). `random` is uniform in `0.0..1.0` and decides the jitter.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        // In f64, so that attempt 4 billion is infinity, not an overflow; the cap then makes it finite again.
        let doublings = f64::from(attempt.saturating_sub(1));
        let exponential = self.initial.as_secs_f64() * self.factor.powf(doublings);
        let capped = exponential.min(self.max.as_secs_f64());
        let spread = 1.0 + self.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        Duration::from_secs_f64((capped * spread).clamp(0.0, Self::LONGEST.as_secs_f64()))
    }

    /// The delay before the second attempt, without jitter.
    #[must_use]
    pub const fn initial(&self) -> Duration {
        self.initial
    }

    /// The growth from one delay to the next.
    #[must_use]
    pub const fn factor(&self) -> f64 {
        self.factor
    }

    /// The longest delay, without jitter.
    #[must_use]
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The share of a delay by which it is moved at random.
    #[must_use]
    pub const fn jitter(&self) -> f64 {
        self.jitter
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_default_doubles_from_one_second_to_fifteen_minutes() {
        let delays: Vec<u64> = (1..=12).map(|n| Backoff::DEFAULT.delay(n, 0.5).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    }

    proptest! {
        #[test]
        fn any_attempt_has_a_finite_delay_within_the_jittered_cap(
            attempt in any::<u32>(), random in any::<f64>(), initial in 0u64..=3_600, factor in 1.0f64..=1e6,
            jitter in 0.0f64..=1.0,
        ) {
            let max = Duration::from_secs(7_200);
            let backoff = Backoff::new(Duration::from_secs(initial), factor, max, jitter);
            prop_assert!(backoff.delay(attempt, random) <= max.mul_f64(1.0 + jitter) + Duration::from_nanos(1));
        }

        #[test]
        fn without_jitter_a_later_attempt_never_waits_less(attempt in 1u32..10_000) {
            let backoff = Backoff::new(Duration::from_millis(50), 1.7, Duration::from_secs(600), 0.0);
            prop_assert!(backoff.delay(attempt, 0.3) <= backoff.delay(attempt + 1, 0.9));
        }
    }
}
