//! Checks `backoff(..)`.

use super::duration::{LONGEST, at_most_longest, read_duration};
use crate::duration::display;
use crate::errors::Errors;
use crate::read::channel_attr::BackoffAttr;
use crate::read::value::{Given, Setting};
use std::time::Duration;

/// What `backoff(..)` sets; the rest is as in `pubsub::Backoff::DEFAULT`.
pub(crate) struct Backoff {
    pub(crate) initial: Option<Duration>,
    pub(crate) factor: Option<f64>,
    pub(crate) max: Option<Duration>,
    pub(crate) jitter: Option<f64>,
}

// `pubsub::Backoff::DEFAULT`, which a derive cannot read. Only compared with, never written into the user's crate;
// `tests/ui/pass/full_surface.rs` holds them against the original.
pub(super) const DEFAULT_INITIAL: Duration = Duration::from_secs(1);
pub(super) const DEFAULT_MAX: Duration = Duration::from_secs(15 * 60);

pub(super) fn check_backoff(attr: BackoffAttr, errors: &mut Errors) -> Option<Backoff> {
    let factor = attr.factor.and_then(|given| {
        within("factor", &given, 1.0..=1e6, "1 keeps every delay the same, 2 doubles it each time", errors)
    });
    let jitter = attr.jitter.and_then(|given| {
        within(
            "jitter",
            &given,
            0.0..=1.0,
            "it is a share of the delay: 0.2 moves it by up to 20 % either way",
            errors,
        )
    });
    let initial = attr.initial.and_then(|given| read_duration(given, errors));
    let max = attr.max.and_then(|given| read_duration(given, errors)).and_then(|given| {
        at_most_longest("max", given, "to keep trying for longer, raise `max_attempts`", errors)
    });
    let ordered = in_order(&initial, &max, errors);
    let broken = !ordered || matches!((&factor, &jitter), (Setting::Broken, _) | (_, Setting::Broken));
    // A part of a backoff is no backoff: its values depend on each other.
    (!broken).then(|| Backoff {
        initial: initial.set().map(|given| given.value),
        factor: factor.set(),
        max: max.set().map(|given| given.value),
        jitter: jitter.set(),
    })
}

fn within(
    key: &str,
    given: &Given<f64>,
    range: std::ops::RangeInclusive<f64>,
    hint: &str,
    errors: &mut Errors,
) -> Option<f64> {
    if range.contains(&given.value) {
        return Some(given.value);
    }
    let (from, to) = (range.start(), range.end());
    errors
        .push(&given.tokens, format!("`{key}` is a number from {from} to {to}, not {}\n{hint}", given.value));
    None
}

/// Reports an `initial` above `max`. `false` if that is so, or if it cannot be told.
fn in_order(initial: &Setting<Given<Duration>>, max: &Setting<Given<Duration>>, errors: &mut Errors) -> bool {
    match (initial, max) {
        (Setting::Broken, _) | (_, Setting::Broken) => return false,
        (Setting::Set(initial), Setting::Set(max)) if initial.value > max.value => errors.push(
            &initial.tokens,
            format!(
                "`initial` is longer than `max`: {} and {}\nlower `initial` or raise `max`",
                display(initial.value),
                display(max.value)
            ),
        ),
        (Setting::Set(initial), Setting::Unset) if initial.value > LONGEST => errors.push(
            &initial.tokens,
            format!("`initial` is at most 24h, as `max` is, not {}", display(initial.value)),
        ),
        (Setting::Set(initial), Setting::Unset) if initial.value > DEFAULT_MAX => {
            let (initial_is, max_is) = (display(initial.value), display(DEFAULT_MAX));
            errors.push(
                &initial.tokens,
                format!(
                    "`initial` is longer than `max`: {initial_is} and {max_is}, the default\n\
                     set `max` as well, to {initial_is} or more"
                ),
            );
        }
        (Setting::Unset, Setting::Set(max)) if max.value < DEFAULT_INITIAL => {
            let (initial_is, max_is) = (display(DEFAULT_INITIAL), display(max.value));
            errors.push(
                &max.tokens,
                format!(
                    "`max` is shorter than `initial`: {max_is} and {initial_is}, the default\n\
                     set `initial` as well, to {max_is} or less"
                ),
            );
        }
        _ => return true,
    }
    false
}
