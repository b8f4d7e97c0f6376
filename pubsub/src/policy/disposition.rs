//! Decides what happens to a delivery after its handler has answered.
//!
//! `store::settle` writes the dispositions. The database decides only whether an attempt, a panic or a crash was the last one,
//! because this must also hold for processes that died.

use crate::model::backoff::Backoff;
use crate::model::event::{EventId, Start};
use crate::model::outcome::Outcome;
use crate::model::settings::SubscriptionSettings;
use serde::{Serialize, Serializer};
use std::time::Duration;

/// The longest error text that is kept with a delivery, in bytes.
pub(crate) const MAX_ERROR_BYTES: usize = 4096;

/// The treatment of one event that is not done: an element of the `dispositions` of `pubsub.settle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Disposition {
    /// The event's id.
    pub id: i64,
    pub action: Action,
    /// The time until the event is due. It is written as an interval that PostgreSQL reads.
    #[serde(serialize_with = "interval")]
    pub delay: Duration,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The actions that `pubsub.settle` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    /// Retry after the delay; a dead letter if this was the last attempt.
    Retry,
    /// Retry after the delay; a dead letter if this was the last attempt, or one panic too many.
    Panic,
    /// Deliver again after the delay, without counting the attempt.
    Snooze,
    /// Deliver again at once: the attempt never started.
    Return,
    /// A dead letter: no attempt can succeed.
    Reject,
    /// A dead letter: the payload cannot be read.
    Undecodable,
    /// Leave it to a process that knows the event's version: the attempt never started.
    TooNew,
}

/// Decides what happens to a delivery after `outcome`; `None` if it is done. `random` (in `0.0..1.0`) decides the jitter.
pub(crate) fn decide(
    id: EventId,
    attempt: u32,
    outcome: Outcome,
    backoff: &Backoff,
    random: f64,
) -> Option<Disposition> {
    let (action, delay, error) = match outcome {
        Outcome::Done | Outcome::Settled => return None,
        Outcome::Failed { error, after } => {
            (Action::Retry, after.unwrap_or_else(|| backoff.delay(attempt, random)), Some(error))
        }
        Outcome::Panicked(panic) => (Action::Panic, backoff.delay(attempt, random), Some(panic.to_string())),
        Outcome::Snoozed(delay) => (Action::Snooze, delay, None),
        Outcome::Rejected { error } => (Action::Reject, Duration::ZERO, Some(error)),
        Outcome::Undecodable { error } => (Action::Undecodable, Duration::ZERO, Some(error)),
        Outcome::TooNew { version, known } => {
            let error =
                format!("its payload is of version {version}, and this process knows {known} at most");
            (Action::TooNew, Duration::ZERO, Some(error))
        }
        Outcome::Returned => (Action::Return, Duration::ZERO, None),
    };
    // A handler may ask for any delay, but the database's times have an end.
    Some(Disposition { id: id.0, action, delay: delay.min(LONGEST_ASKED), error: error.map(storable) })
}

fn interval<S: Serializer>(delay: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}.{:06} seconds", delay.as_secs(), delay.subsec_micros()))
}

/// Whether a delivery that ends its start with `action` will be started again. The database decides that when it settles;
/// this is for logs and figures.
pub(crate) fn starts_again(action: Action, start: Start, settings: &SubscriptionSettings) -> bool {
    match action {
        Action::Retry => start.attempt < settings.max_attempts,
        Action::Panic => start.attempt < settings.max_attempts && start.panics + 1 < settings.max_panics,
        Action::Snooze | Action::Return | Action::TooNew => true,
        Action::Reject | Action::Undecodable => false,
    }
}

/// The longest delay that a handler can ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Returns an error text that the database accepts: without NUL characters, and at most [`MAX_ERROR_BYTES`] long. Recording
/// a failure must never itself fail.
fn storable(error: String) -> String {
    let mut error = if error.contains('\0') { error.replace('\0', "\u{FFFD}") } else { error };
    error.truncate(error.floor_char_boundary(MAX_ERROR_BYTES));
    error
}

/// The text in place of an error whose text the database refuses in every form.
const REFUSED: &str = "(the database refused the text of this error)";

/// Returns a poorer form of an error text that the database has refused: the characters that are not ASCII become escapes, and
/// a text without any is replaced. The outcome of a delivery matters more than its text.
pub(crate) fn poorer(error: &str) -> String {
    if error.is_ascii() {
        return REFUSED.to_owned();
    }
    let escaped = |c: char| match c {
        c if c.is_ascii() => c.to_string(),
        c => c.escape_unicode().to_string(),
    };
    storable(error.chars().map(escaped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn outcomes() -> impl Strategy<Value = Outcome> {
        let delay = any::<u64>().prop_map(Duration::from_millis);
        prop_oneof![
            Just(Outcome::Done),
            Just(Outcome::Settled),
            Just(Outcome::Returned),
            (2i32.., 1i32..).prop_map(|(version, known)| Outcome::TooNew { version, known }),
            delay.clone().prop_map(Outcome::Snoozed),
            any::<String>().prop_map(|error| Outcome::Rejected { error }),
            any::<String>().prop_map(|error| Outcome::Undecodable { error }),
            (any::<String>(), proptest::option::of(delay))
                .prop_map(|(error, after)| Outcome::Failed { error, after }),
        ]
    }

    proptest! {
        #[test]
        fn only_a_done_delivery_has_no_disposition(outcome in outcomes(), attempt in 1u32..) {
            let done = matches!(outcome, Outcome::Done | Outcome::Settled);
            prop_assert_eq!(decide(EventId(7), attempt, outcome, &Backoff::DEFAULT, 0.5).is_none(), done);
        }

        #[test]
        fn a_disposition_says_the_delay_that_is_meant(seconds in any::<u64>(), nanos in 0..1_000_000_000_u32) {
            let asked = Duration::new(seconds, nanos);
            let disposition = decide(EventId(7), 1, Outcome::Snoozed(asked), &Backoff::DEFAULT, 0.5).unwrap();
            let json = serde_json::to_value(&disposition).unwrap();
            let said: f64 = json["delay"].as_str().unwrap().strip_suffix(" seconds").unwrap().parse().unwrap();
            let meant = asked.min(LONGEST_ASKED).as_secs_f64();
            // PostgreSQL keeps whole microseconds.
            prop_assert!((meant - said).abs() < 2e-6, "{}", json);
        }

        #[test]
        fn any_error_text_can_be_stored(text in "\\PC*\0?\\PC*", repeat in 1usize..200) {
            let stored = storable(text.repeat(repeat));
            prop_assert!(stored.len() <= MAX_ERROR_BYTES && !stored.contains('\0'));
        }
    }

    #[test]
    fn a_refused_text_becomes_ascii_and_then_goes() {
        let first = poorer("gave up 😀");
        assert_eq!(first, "gave up \\u{1f600}");
        assert_eq!(poorer(&first), REFUSED);
        assert!(poorer(&"ä".repeat(MAX_ERROR_BYTES / 2)).len() <= MAX_ERROR_BYTES);
    }

    #[test]
    fn a_handlers_own_delay_overrides_the_backoff() {
        let outcome = Outcome::Failed { error: "busy".into(), after: Some(Duration::from_millis(2500)) };
        let disposition = decide(EventId(7), 3, outcome, &Backoff::DEFAULT, 0.5).unwrap();
        assert_eq!(
            serde_json::to_string(&disposition).unwrap(),
            r#"{"id":7,"action":"retry","delay":"2.500000 seconds","error":"busy"}"#
        );
    }
}
