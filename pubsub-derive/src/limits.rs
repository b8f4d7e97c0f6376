//! The defaults of a channel's settings, and the values that they may have.
//!
//! `pubsub/src/model/limits.rs` and `pubsub-derive/src/limits.rs` are one text: a crate of macros can export nothing but its
//! macros, and the library depends on it. A test compares the two files.

use std::fmt;
use std::time::Duration;

/// Attempts of a delivery, unless set: with the default backoff, about two and a half hours.
pub(crate) const DEFAULT_MAX_ATTEMPTS: u32 = 20;

/// The delay after the first attempt, unless set.
pub(crate) const DEFAULT_INITIAL: Duration = Duration::from_secs(1);

/// The growth from one delay to the next, unless set.
pub(crate) const DEFAULT_FACTOR: f64 = 2.0;

/// The longest delay, unless set.
pub(crate) const DEFAULT_MAX: Duration = Duration::from_secs(15 * 60);

/// The share of a delay by which it is moved at random, unless set.
pub(crate) const DEFAULT_JITTER: f64 = 0.2;

/// The longest `max` of a backoff, and the longest timeout.
pub(crate) const LONGEST_DELAY: Duration = Duration::from_secs(24 * HOUR);

/// The longest retention: a hundred years.
const LONGEST_RETENTION: Duration = Duration::from_secs(36_500 * 24 * HOUR);

const HOUR: u64 = 60 * 60;

/// A setting with a value that it cannot have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The setting's name.
    pub(crate) setting: &'static str,
    /// The value.
    pub(crate) value: String,
    /// The values that it may have. Completes "must be ..".
    pub(crate) allowed: String,
}

impl Refused {
    pub(crate) fn new(setting: &'static str, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { setting, value: value.to_string(), allowed: allowed.into() }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, value, allowed } = self;
        write!(f, "`{setting}` must be {allowed}, not {value}")
    }
}

/// Refuses a count that is not from 1 to `i32::MAX`, PostgreSQL's largest `integer`: `max_attempts`, `max_panics`, `max_crashes`, `version`.
pub(crate) fn count(setting: &'static str, value: i128) -> Result<u32, Refused> {
    let count = u32::try_from(value).ok().filter(|count| (1..=i32::MAX.unsigned_abs()).contains(count));
    count.ok_or_else(|| Refused::new(setting, value, "a whole number from 1 to 2147483647"))
}

/// Refuses a timeout that cancels every delivery, or that is longer than a day.
pub(crate) fn timeout(value: Duration) -> Result<(), Refused> {
    let allowed = "longer than 0s and at most 24h";
    refuse_unless(!value.is_zero() && value <= LONGEST_DELAY, "timeout", Shown(value), allowed)
}

/// Refuses a retention that PostgreSQL could not add to a time.
pub(crate) fn retention(value: Duration) -> Result<(), Refused> {
    refuse_unless(value <= LONGEST_RETENTION, "retention", Shown(value), "at most 36500d")
}

/// Refuses a factor that shortens the delays, or makes the second one endless.
pub(crate) fn factor(value: f64) -> Result<(), Refused> {
    refuse_unless((1.0..=1e6).contains(&value), "factor", value, "a number from 1 to 1000000")
}

/// Refuses a jitter that is not a share of the delay.
pub(crate) fn jitter(value: f64) -> Result<(), Refused> {
    refuse_unless((0.0..=1.0).contains(&value), "jitter", value, "a number from 0 to 1")
}

/// Refuses a longest delay that is longer than a day.
pub(crate) fn max(value: Duration) -> Result<(), Refused> {
    refuse_unless(value <= LONGEST_DELAY, "max", Shown(value), "at most 24h")
}

/// Refuses a first delay that is longer than the longest.
pub(crate) fn initial(value: Duration, max: Duration) -> Result<(), Refused> {
    let allowed = format!("at most `max`, which is {}", Shown(max));
    refuse_unless(value <= max, "initial", Shown(value), allowed)
}

fn refuse_unless(
    is_allowed: bool,
    setting: &'static str,
    value: impl fmt::Display,
    allowed: impl Into<String>,
) -> Result<(), Refused> {
    if is_allowed { Ok(()) } else { Err(Refused::new(setting, value, allowed)) }
}

/// Shows a duration in the longest unit that leaves no fraction: `15m`, not `900s`.
pub(crate) struct Shown(pub(crate) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("d", 24 * HOUR * 1_000), ("h", HOUR * 1_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
        let nanos = self.0.as_nanos();
        let length = |millis: u64| u128::from(millis) * 1_000_000;
        match units.iter().find(|(_, millis)| nanos != 0 && nanos.is_multiple_of(length(*millis))) {
            Some((unit, millis)) => write!(f, "{}{unit}", nanos / length(*millis)),
            None => write!(f, "{}s", self.0.as_secs_f64()),
        }
    }
}
