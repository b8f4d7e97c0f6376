//! The delay before the next attempt.

use crate::model::limits::{self, Refused};
use std::time::Duration;

/// The delays between the attempts of a delivery.
///
/// The delay after attempt *n* is `initial × factor^(n-1)`, at most `max`. It is then changed at random by up to `jitter` of
/// itself in either direction, so that deliveries that failed together are not retried together.
///
/// The setters accept every value. [`Builder::start`](crate::Builder::start) refuses a value that is not allowed with
/// [`Error::InvalidSetting`](crate::Error::InvalidSetting). In `#[channel(backoff(..))]` it is a compile error.
///
/// # Examples
/// ```
/// use pubsub::Backoff;
/// use std::time::Duration;
///
/// const BACKOFF: Backoff = Backoff::exponential(Duration::from_secs(1)).factor(2.0).max(Duration::from_secs(60)).jitter(0.0);
///
/// assert_eq!(BACKOFF.delay(1, 0.5), Duration::from_secs(1));
/// assert_eq!(BACKOFF.delay(4, 0.5), Duration::from_secs(8));
/// assert_eq!(BACKOFF.delay(4_000_000_000, 0.5), Duration::from_secs(60));
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
    pub const DEFAULT: Self = Self::exponential(limits::DEFAULT_INITIAL);

    /// The longest [`max`](Self::max): 24 h.
    pub const LONGEST: Duration = limits::LONGEST_DELAY;

    /// Delays that begin with `initial` and grow as those of [`DEFAULT`](Self::DEFAULT) do: they double, up to 15 min, with a
    /// jitter of 20 %. At most [`max`](Self::max).
    #[must_use]
    pub const fn exponential(initial: Duration) -> Self {
        Self {
            initial,
            factor: limits::DEFAULT_FACTOR,
            max: limits::DEFAULT_MAX,
            jitter: limits::DEFAULT_JITTER,
        }
    }

    /// The growth from one delay to the next, from 1 to 1,000,000. Default: 2.
    #[must_use]
    pub const fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// The longest delay, without jitter; at most [`LONGEST`](Self::LONGEST). Default: 15 min.
    #[must_use]
    pub const fn max(mut self, max: Duration) -> Self {
        self.max = max;
        self
    }

    /// The share of a delay by which it is moved at random, from 0 to 1. Default: 0.2.
    #[must_use]
    pub const fn jitter(mut self, jitter: f64) -> Self {
        self.jitter = jitter;
        self
    }

    /// The delay after attempt number `attempt`, from 1. `random` is uniform in `0.0..1.0` and decides the jitter.
    #[must_use]
    pub fn delay(&self, attempt: u32, random: f64) -> Duration {
        // In f64, so that attempt 4 billion is infinity, not an overflow; the cap then makes it finite again.
        let doublings = f64::from(attempt.saturating_sub(1));
        let exponential = self.initial.as_secs_f64() * self.factor.powf(doublings);
        let capped = exponential.min(self.max.as_secs_f64());
        let spread = 1.0 + self.jitter * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        let delay = (capped * spread).clamp(0.0, Self::LONGEST.as_secs_f64());
        // Not a number only if `start` would have refused the values.
        Duration::try_from_secs_f64(delay).unwrap_or(self.max)
    }

    /// Refuses values that are not allowed.
    pub(crate) fn check(&self) -> Result<(), Refused> {
        limits::factor(self.factor)?;
        limits::jitter(self.jitter)?;
        limits::max(self.max)?;
        limits::initial(self.initial, self.max)
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

    /// The first and the longest delay, as far as they may go.
    fn allowed_millis() -> impl Strategy<Value = [u64; 2]> {
        let longest = 24 * 60 * 60 * 1_000_u64;
        let max = prop_oneof![Just(0), Just(longest), 0..=longest];
        max.prop_flat_map(|max| {
            (prop_oneof![Just(0), Just(max), 0..=max], Just(max)).prop_map(|(a, b)| [a, b])
        })
    }

    #[test]
    fn the_default_doubles_from_one_second_to_fifteen_minutes() {
        let delays: Vec<u64> = (1..=12).map(|n| Backoff::DEFAULT.delay(n, 0.5).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
    }

    proptest! {
        #[test]
        fn values_that_are_not_allowed_do_not_panic(
            attempt in any::<u32>(), random in any::<f64>(), factor in any::<f64>(), jitter in any::<f64>(),
            initial in any::<u64>(), max in any::<u64>(),
        ) {
            let backoff = Backoff::exponential(Duration::from_secs(initial)).factor(factor);
            let backoff = backoff.max(Duration::from_secs(max)).jitter(jitter);
            prop_assert!(backoff.delay(attempt, random) <= Backoff::LONGEST.max(Duration::from_secs(max)));
        }

        #[test]
        fn any_attempt_has_a_finite_delay_within_the_jittered_cap(
            attempt in any::<u32>(), random in any::<f64>(), initial in 0u64..=3_600, factor in 1.0f64..=1e6,
            jitter in 0.0f64..=1.0,
        ) {
            let max = Duration::from_secs(7_200);
            let backoff = Backoff::exponential(Duration::from_secs(initial)).factor(factor).max(max).jitter(jitter);
            prop_assert!(backoff.delay(attempt, random) <= max.mul_f64(1.0 + jitter) + Duration::from_nanos(1));
        }

        #[test]
        fn every_allowed_backoff_keeps_its_bounds(
            attempt in prop_oneof![1u32..100, any::<u32>()], random in 0.0f64..1.0, millis in allowed_millis(),
            factor in prop_oneof![Just(1.0), Just(1e6), 1.0f64..=1e6], jitter in prop_oneof![Just(0.0), Just(1.0), 0.0f64..=1.0],
        ) {
            let [initial, max] = millis.map(Duration::from_millis);
            let backoff = Backoff::exponential(initial).factor(factor).max(max).jitter(jitter);
            prop_assert!(backoff.check().is_ok());
            let delay = backoff.delay(attempt, random);
            let slack = Duration::from_micros(1);
            prop_assert!(delay <= (max.mul_f64(1.0 + jitter) + slack).min(Backoff::LONGEST));
            prop_assert!(delay + slack >= initial.mul_f64(1.0 - jitter));
            let steady = backoff.jitter(0.0);
            prop_assert!(steady.delay(attempt, random) <= steady.delay(attempt.saturating_add(1), random) + slack);
            prop_assert!(steady.delay(1, random).abs_diff(initial) <= slack);
        }

        #[test]
        fn without_jitter_a_later_attempt_never_waits_less(attempt in 1u32..10_000) {
            let backoff = Backoff::exponential(Duration::from_millis(50)).factor(1.7).max(Duration::from_secs(600)).jitter(0.0);
            prop_assert!(backoff.delay(attempt, 0.3) <= backoff.delay(attempt + 1, 0.9));
        }
    }
}
