//! Checks durations.

use crate::duration;
use crate::errors::Errors;
use crate::read::value::Given;
use std::time::Duration;

pub(super) fn read_duration(given: Given<String>, errors: &mut Errors) -> Option<Given<Duration>> {
    match duration::parse(&given.value) {
        Ok(value) => Some(Given { value, tokens: given.tokens }),
        Err(message) => {
            errors.push(&given.tokens, message);
            None
        }
    }
}
