//! Checks `backoff(..)`.

use super::duration::read_duration;
use crate::errors::Errors;
use crate::limits::{self, DEFAULT_INITIAL, DEFAULT_MAX, LONGEST_DELAY, Refused, Shown};
use crate::read::channel_attr::BackoffAttr;
use crate::read::value::{Setting, Spanned};
use std::time::Duration;

/// The values that `backoff(..)` sets. The others are as in `pubsub::Backoff::DEFAULT`.
pub(crate) struct Backoff {
    pub(crate) initial: Option<Duration>,
    pub(crate) factor: Option<f64>,
    pub(crate) max: Option<Duration>,
    pub(crate) jitter: Option<f64>,
}

pub(super) fn check_backoff(attr: BackoffAttr, errors: &mut Errors) -> Option<Backoff> {
    let factor = attr.factor.and_then(|factor| {
        let hint = "1 keeps every delay the same, 2 doubles it each time";
        check(factor, |factor| limits::factor(*factor), hint, errors)
    });
    let jitter = attr.jitter.and_then(|jitter| {
        let hint = "it is a share of the delay: 0.2 moves it by up to 20 % either way";
        check(jitter, |jitter| limits::jitter(*jitter), hint, errors)
    });
    let initial = attr.initial.and_then(|initial| read_duration(initial, errors));
    let max = attr.max.and_then(|max| read_duration(max, errors)).and_then(|max| {
        check(max, |max| limits::max(*max), "to keep retrying for longer, raise `max_attempts`", errors)
    });
    let is_ordered = check_order(&initial, &max, errors);
    // The values depend on each other, so one that is invalid makes the whole backoff invalid.
    if !is_ordered || matches!((&factor, &jitter), (Setting::Invalid, _) | (_, Setting::Invalid)) {
        return None;
    }
    Some(Backoff {
        initial: initial.set().map(|initial| initial.value),
        factor: factor.set().map(|factor| factor.value),
        max: max.set().map(|max| max.value),
        jitter: jitter.set().map(|jitter| jitter.value),
    })
}

fn check<T>(
    value: Spanned<T>,
    refuse: impl FnOnce(&T) -> Result<(), Refused>,
    hint: &str,
    errors: &mut Errors,
) -> Option<Spanned<T>> {
    match refuse(&value.value) {
        Ok(()) => Some(value),
        Err(refused) => {
            errors.push(&value.tokens, format!("{refused}\n{hint}"));
            None
        }
    }
}

/// Reports an `initial` above `max`. Returns whether the two are in order, as far as they are valid.
fn check_order(
    initial: &Setting<Spanned<Duration>>,
    max: &Setting<Spanned<Duration>>,
    errors: &mut Errors,
) -> bool {
    let (at, checked, hint) = match (initial, max) {
        (Setting::Invalid, _) | (_, Setting::Invalid) => return false,
        (Setting::Set(initial), Setting::Set(max)) => (
            &initial.tokens,
            limits::initial(initial.value, max.value),
            "lower `initial` or raise `max`".to_owned(),
        ),
        (Setting::Set(initial), Setting::Unset) => {
            let hint = match initial.value > LONGEST_DELAY {
                true => "`max` is at most 24h".to_owned(),
                false => format!("{} is the default of `max`: set `max` as well", Shown(DEFAULT_MAX)),
            };
            (&initial.tokens, limits::initial(initial.value, DEFAULT_MAX), hint)
        }
        (Setting::Unset, Setting::Set(max)) => (
            &max.tokens,
            limits::initial(DEFAULT_INITIAL, max.value),
            format!("{} is the default of `initial`: set `initial` as well", Shown(DEFAULT_INITIAL)),
        ),
        (Setting::Unset, Setting::Unset) => return true,
    };
    if let Err(refused) = &checked {
        errors.push(at, format!("{refused}\n{hint}"));
    }
    checked.is_ok()
}
