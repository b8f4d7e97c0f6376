//! Checks `backoff(..)`.

use super::duration::read_duration;
use crate::errors::Errors;
use crate::limits::{self, DEFAULT_INITIAL, DEFAULT_MAX, LONGEST_DELAY, Refused, Shown};
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

pub(super) fn check_backoff(attr: BackoffAttr, errors: &mut Errors) -> Option<Backoff> {
    let factor = attr.factor.and_then(|given| {
        let hint = "1 keeps every delay the same, 2 doubles it each time";
        check(given, |factor| limits::factor(*factor), hint, errors)
    });
    let jitter = attr.jitter.and_then(|given| {
        let hint = "it is a share of the delay: 0.2 moves it by up to 20 % either way";
        check(given, |jitter| limits::jitter(*jitter), hint, errors)
    });
    let initial = attr.initial.and_then(|given| read_duration(given, errors));
    let max = attr.max.and_then(|given| read_duration(given, errors)).and_then(|given| {
        check(given, |max| limits::max(*max), "to keep trying for longer, raise `max_attempts`", errors)
    });
    let ordered = in_order(&initial, &max, errors);
    let broken = !ordered || matches!((&factor, &jitter), (Setting::Broken, _) | (_, Setting::Broken));
    // A part of a backoff is no backoff: its values depend on each other.
    (!broken).then(|| Backoff {
        initial: initial.set().map(|given| given.value),
        factor: factor.set().map(|given| given.value),
        max: max.set().map(|given| given.value),
        jitter: jitter.set().map(|given| given.value),
    })
}

fn check<T>(
    given: Given<T>,
    refuse: impl FnOnce(&T) -> Result<(), Refused>,
    hint: &str,
    errors: &mut Errors,
) -> Option<Given<T>> {
    match refuse(&given.value) {
        Ok(()) => Some(given),
        Err(refused) => {
            errors.push(&given.tokens, format!("{refused}\n{hint}"));
            None
        }
    }
}

/// Reports an `initial` above `max`. `false` if that is so, or if it cannot be told.
fn in_order(initial: &Setting<Given<Duration>>, max: &Setting<Given<Duration>>, errors: &mut Errors) -> bool {
    let (at, refused, hint) = match (initial, max) {
        (Setting::Broken, _) | (_, Setting::Broken) => return false,
        (Setting::Set(initial), Setting::Set(max)) => (
            &initial.tokens,
            limits::initial(initial.value, max.value),
            "lower `initial` or raise `max`".to_owned(),
        ),
        (Setting::Set(initial), Setting::Unset) => {
            let hint = match initial.value > LONGEST_DELAY {
                true => "`max` is at most 24h".to_owned(),
                false => format!("{} is the default; set `max` as well", Shown(DEFAULT_MAX)),
            };
            (&initial.tokens, limits::initial(initial.value, DEFAULT_MAX), hint)
        }
        (Setting::Unset, Setting::Set(max)) => (
            &max.tokens,
            limits::initial(DEFAULT_INITIAL, max.value),
            format!("{} is the default; set `initial` as well", Shown(DEFAULT_INITIAL)),
        ),
        (Setting::Unset, Setting::Unset) => return true,
    };
    if let Err(refused) = &refused {
        errors.push(at, format!("{refused}\n{hint}"));
    }
    refused.is_ok()
}
