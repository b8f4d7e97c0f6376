//! The stages of an event in a process that handles it, as functions whose instructions are counted with what they call.

use crate::callgrind::Profile;

/// A stage, the parts of its functions' names, and those of functions that they call and that are stages of their own.
type Stage = (&'static str, &'static [&'static str], &'static [&'static str]);

const DRIVER: &[&str] =
    &["Connection<S,T>::poll_message", "Store::query::{{closure}}", "Store::query_both::{{closure}}"];
const DECODE: &[&str] = &["Delivery<C>::decode"];

const STAGES: &[Stage] = &[
    ("driver", DRIVER, &[]),
    ("rows", &["store::claim::event"], &[]),
    ("claimed", &["Dispatch::completed"], &[]),
    ("host", &["HandlerHost<C,H,F>"], DECODE),
    ("decode", DECODE, &[]),
    ("settle", &["Dispatch::answered", "Dispatch::settled", "Dispatch::next"], &[]),
];

/// Returns the instructions of each stage, and last those of everything else.
pub(crate) fn of(profile: &Profile) -> Vec<(&'static str, i64)> {
    let count = |&(name, parts, without): &Stage| (name, profile.within(parts) - profile.within(without));
    let mut stages: Vec<_> = STAGES.iter().map(count).collect();
    let rest = profile.instructions - stages.iter().map(|(_, instructions)| instructions).sum::<i64>();
    stages.push(("rest", rest));
    stages
}
