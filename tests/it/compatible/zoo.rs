//! For every pair of the specimens, as the payload and inside of others: what the lock file allows, serde reads.

use super::is_allowed;
use super::specimens::specimens;
use proptest::strategy::{BoxedStrategy, Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, TestRunner};
use pubsub::__private::shape::TypeShape;
use pubsub::Shape;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// A payload type, with JSON that it has written.
pub(super) struct Specimen {
    /// The type, and what contains it.
    name: String,
    shape: &'static TypeShape,
    written: Vec<String>,
    /// Reads JSON, and returns what it writes then.
    reread: fn(&str) -> serde_json::Result<String>,
}

impl Specimen {
    /// Makes a specimen of a type with values of its content. Of its JSON it keeps what serde can write, and
    /// the type reads back as it was.
    pub(super) fn new<T, P>(
        name: &str,
        inside: &str,
        values: &BoxedStrategy<T>,
        payload: &dyn Fn(T) -> P,
    ) -> Self
    where
        T: Debug,
        P: Shape + Serialize + DeserializeOwned,
    {
        fn reread<P: Serialize + DeserializeOwned>(json: &str) -> serde_json::Result<String> {
            serde_json::to_string(&serde_json::from_str::<P>(json)?)
        }
        let mut runner = TestRunner::default();
        let any = (0..Config::default().cases / 8).map(|_| values.new_tree(&mut runner).unwrap().current());
        let json = any.filter_map(|value| serde_json::to_string(&payload(value)).ok());
        let is_kept = |json: &String| reread::<P>(json).is_ok_and(|kept| keeps(&value(&kept), &value(json)));
        let mut written: Vec<String> = json.filter(is_kept).collect();
        written.sort_unstable();
        written.dedup();
        Self { name: format!("{inside} {name}"), shape: P::SHAPE.get(), written, reread: reread::<P> }
    }
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// Whether all that `part` has is in `whole`. A field that is null counts as missing, and a list may be read as a set.
fn keeps(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, value)| value.is_null() || whole.get(name).is_some_and(|whole| keeps(whole, value))),
        (Value::Array(whole), Value::Array(part)) => {
            part.iter().all(|part| whole.iter().any(|whole| keeps(whole, part)))
        }
        (whole, part) => whole == part,
    }
}

/// The fault with JSON that the `old` type has written and the `new` one reads.
fn lost(new: &Specimen, json: &str) -> Option<String> {
    match (new.reread)(json) {
        Err(error) => Some(error.to_string()),
        Ok(kept) if keeps(&value(&kept), &value(json)) => None,
        Ok(kept) => Some(format!("it is read as {kept}")),
    }
}

#[test]
fn what_another_type_has_written_is_read_or_refused() {
    let zoo = specimens();
    let foreign: Vec<&String> = zoo.iter().filter_map(|specimen| specimen.written.first()).collect();
    let read =
        zoo.iter().map(|specimen| foreign.iter().filter(|json| (specimen.reread)(json).is_ok()).count());
    assert!(read.sum::<usize>() > zoo.len(), "each type reads its own");
}

#[test]
fn what_the_lock_allows_decodes() {
    let zoo = specimens();
    let mut faults = Vec::new();
    let mut allowed = 0;
    for old in &zoo {
        for new in &zoo {
            if std::ptr::eq(old, new) || !is_allowed(old.shape, new.shape) {
                continue;
            }
            allowed += 1;
            let forwards =
                old.written.iter().find_map(|json| Some((json, format!("new: {}", lost(new, json)?))));
            let backwards = new
                .written
                .iter()
                .find_map(|json| Some((json, format!("old: {}", (old.reread)(json).err()?))));
            if let Some((json, fault)) = forwards.or(backwards) {
                faults.push(format!("{} -> {}: {json}: {fault}", old.name, new.name));
            }
        }
    }
    assert!(faults.is_empty(), "{} of {allowed} pairs:\n{}", faults.len(), faults.join("\n"));
    // The rule that refuses everything would pass, too.
    assert!(allowed > 100, "only {allowed} of {} specimens are compatible", zoo.len());
}
