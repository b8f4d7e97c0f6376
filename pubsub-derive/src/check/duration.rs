//! Parses the durations of attributes.

use crate::errors::Errors;
use crate::read::duration;
use crate::read::value::Spanned;
use std::time::Duration;

pub(super) fn read_duration(text: Spanned<String>, errors: &mut Errors) -> Option<Spanned<Duration>> {
    match duration::parse(&text.value) {
        Ok(value) => Some(Spanned { value, tokens: text.tokens }),
        Err(message) => {
            errors.push(&text.tokens, message);
            None
        }
    }
}
