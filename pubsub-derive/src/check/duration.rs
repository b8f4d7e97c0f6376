//! Checks durations.

use crate::duration;
use crate::errors::Errors;
use crate::read::value::Given;
use std::time::Duration;

/// `pubsub::Backoff::LONGEST`, and the longest timeout as well.
pub(super) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) fn read_duration(given: Given<String>, errors: &mut Errors) -> Option<Given<Duration>> {
    match duration::parse(&given.value) {
        Ok(value) => Some(Given { value, tokens: given.tokens }),
        Err(message) => {
            errors.push(&given.tokens, message);
            None
        }
    }
}

pub(super) fn at_most_longest(
    key: &str,
    given: Given<Duration>,
    hint: &str,
    errors: &mut Errors,
) -> Option<Given<Duration>> {
    if given.value <= LONGEST {
        return Some(given);
    }
    let shown = duration::display(given.value);
    errors.push(&given.tokens, format!("`{key}` is at most 24h, not {shown}\n{hint}"));
    None
}
