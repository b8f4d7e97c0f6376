//! Checks `retention`, also against the longest time for which an event may be retried.

use super::backoff::Backoff;
use super::duration::read_duration;
use crate::errors::Errors;
use crate::limits::{
    self, DEFAULT_FACTOR, DEFAULT_INITIAL, DEFAULT_JITTER, DEFAULT_MAX, DEFAULT_MAX_ATTEMPTS, Shown,
};
use crate::read::value::{Setting, Spanned};
use std::time::Duration;

/// How long events stay in the log.
pub(crate) enum Retention {
    Forever,
    For(Duration),
}

/// Checks how long events stay in the log.
pub(super) fn check_retention(
    retention: Spanned<String>,
    max_attempts: &Setting<u32>,
    backoff: &Setting<Backoff>,
    errors: &mut Errors,
) -> Option<Retention> {
    match retention.value.trim().to_lowercase().as_str() {
        "forever" if retention.value == "forever" => return Some(Retention::Forever),
        "forever" | "for ever" | "never" | "none" | "infinite" | "infinity" | "unlimited" => {
            let message = format!(
                "`{}` is not a duration\nto keep events forever, write `\"forever\"`",
                retention.value
            );
            errors.push(&retention.tokens, message);
            return None;
        }
        _ => {}
    }
    let retention = read_duration(retention, errors)?;
    if let Err(refused) = limits::retention(retention.value) {
        errors.push(&retention.tokens, format!("{refused}\nto keep events forever, write `\"forever\"`"));
        return None;
    }
    // An invalid value is reported already.
    let max_attempts = match max_attempts {
        Setting::Invalid => return None,
        Setting::Unset => None,
        Setting::Set(attempts) => Some(*attempts),
    };
    let backoff = match backoff {
        Setting::Invalid => return None,
        Setting::Unset => None,
        Setting::Set(backoff) => Some(backoff),
    };
    if let Some(message) = refuse(retention.value, longest_retries(max_attempts, backoff)) {
        errors.push(&retention.tokens, message);
        return None;
    }
    Some(Retention::For(retention.value))
}

/// Returns the longest time from an event's first attempt to its last, if each fails at once: the sum of the delays with
/// their jitter.
fn longest_retries(max_attempts: Option<u32>, backoff: Option<&Backoff>) -> Duration {
    let initial = backoff.and_then(|backoff| backoff.initial).unwrap_or(DEFAULT_INITIAL).as_secs_f64();
    let factor = backoff.and_then(|backoff| backoff.factor).unwrap_or(DEFAULT_FACTOR);
    let max = backoff.and_then(|backoff| backoff.max).unwrap_or(DEFAULT_MAX).as_secs_f64();
    let jitter = backoff.and_then(|backoff| backoff.jitter).unwrap_or(DEFAULT_JITTER);
    let delays = f64::from(max_attempts.unwrap_or(DEFAULT_MAX_ATTEMPTS) - 1);
    // The delays grow in a geometric series until they reach the longest, and stay there.
    let growing = match (initial > 0.0, factor > 1.0) {
        (true, true) => ((max / initial).ln() / factor.ln()).ceil().clamp(0.0, delays),
        _ => delays,
    };
    let series = match factor > 1.0 {
        true => initial * (growing * factor.ln()).exp_m1() / (factor - 1.0),
        false => initial * growing,
    };
    Duration::from_secs_f64((series + max * (delays - growing)) * (1.0 + jitter))
}

/// Returns the message for a retention that is shorter than the retries may take, or `None` if it is long enough.
fn refuse(retention: Duration, retries: Duration) -> Option<String> {
    if retention >= retries {
        return None;
    }
    let (shown, enough) = (Shown(retention), Shown(rounded_up(retries)));
    Some(format!(
        "`retention` is {shown}, but an event may be retried for up to {enough}\n\
         the log would lose events that are still being retried, and no seek could reach them\n\
         write `retention = \"{enough}\"` or longer, or lower `max_attempts` or the `max` of the backoff"
    ))
}

/// Rounds up to a whole number of the longest unit that fits.
fn rounded_up(duration: Duration) -> Duration {
    let seconds = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    let unit = [86_400, 3_600, 60].into_iter().find(|unit| seconds >= 2 * unit).unwrap_or(1);
    Duration::from_secs(seconds.div_ceil(unit) * unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(initial: u64, factor: f64, max: u64, jitter: f64) -> Backoff {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        Backoff { initial: seconds(initial), factor: Some(factor), max: seconds(max), jitter: Some(jitter) }
    }

    #[test]
    fn retries_take_as_long_as_all_delays() {
        let cases = [
            (Some(1), Some(backoff(1, 2.0, 60, 0.0)), 0),
            (Some(4), Some(backoff(1, 2.0, 60, 0.0)), 1 + 2 + 4),
            (Some(5), Some(backoff(1, 2.0, 3, 0.0)), 1 + 2 + 3 + 3),
            (Some(5), Some(backoff(10, 1.0, 60, 0.5)), 60),
            // 1 + 2 + .. + 512, then nine times fifteen minutes, and a fifth on top.
            (None, None, (1_023 + 9 * 900) * 6 / 5),
        ];
        for (attempts, backoff, seconds) in cases {
            let retries = longest_retries(attempts, backoff.as_ref()).as_secs_f64();
            assert!((retries - f64::from(seconds)).abs() < 1.0, "{retries} is not {seconds}");
        }
        assert!(
            longest_retries(Some(u32::MAX), None) > Duration::from_secs(u64::from(u32::MAX)),
            "and it ends"
        );
    }

    #[test]
    fn the_offered_retention_is_long_enough() {
        for seconds in [1, 59, 119, 120, 7_199, 7_201, 172_799, 172_801, 900_000] {
            let retries = Duration::from_secs(seconds);
            assert!(refuse(rounded_up(retries), retries).is_none());
            assert!(refuse(Duration::from_secs(seconds - 1), retries).is_some());
        }
    }
}
