//! The fingerprint of a payload's shape changes with its JSON, and with nothing else.

use pubsub::__private::shape::fingerprint;
use pubsub::Shape;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

fn of<T: Shape>() -> u64 {
    fingerprint(T::SHAPE)
}

/// Returns the fingerprints of structs with these attributes and fields.
macro_rules! shapes {
    ($($(#[$meta:meta])* { $($fields:tt)* })*) => {
        [$({
            #[derive(Serialize, Deserialize, Shape)]
            $(#[$meta])*
            struct Payload { $($fields)* }
            of::<Payload>()
        }),*]
    };
}

fn assert_all_differ(fingerprints: &[u64]) {
    for (at, fingerprint) in fingerprints.iter().enumerate() {
        let same: Vec<usize> =
            (0..fingerprints.len()).filter(|other| fingerprints[*other] == *fingerprint).collect();
        assert_eq!(same, [at]);
    }
}

#[test]
fn a_change_of_the_json_changes_the_fingerprint() {
    assert_all_differ(&shapes! {
        { a: i64, b: String }
        { a: i64 }
        { a: i64, c: String }
        { a: i32, b: String }
        { a: i64, b: Option<String> }
        { a: i64, b: Vec<String> }
        { a: i64, b: [String; 2] }
        { a: i64, b: [String; 3] }
        { a: i64, b: (String, String) }
        { a: i64, b: BTreeMap<String, i64> }
        { a: i64, #[serde(default)] b: String }
        { a: i64, #[serde(skip_serializing_if = "String::is_empty")] b: String }
        { a: i64, #[serde(rename = "B")] b: String }
        { a: i64, #[serde(rename(serialize = "B"))] b: String }
        { a: i64, #[serde(alias = "B")] b: String }
        { a: i64, #[serde(with = "text")] b: String }
        { a: i64, #[serde(flatten)] b: BTreeMap<String, i64> }
        #[serde(rename_all = "SCREAMING-KEBAB-CASE")] { a: i64, b: String }
        #[serde(deny_unknown_fields)] { a: i64, b: String }
        #[serde(tag = "t")] { a: i64, b: String }
    });
}

mod text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}

#[test]
fn other_changes_do_not_change_the_fingerprint() {
    let same = shapes! {
        { one_two: i64, b: String }
        { b: String, one_two: i64 }
        /// A comment.
        {
            /// Another one.
            one_two: i64,
            b: String
        }
        { one_two: i64, b: std::string::String }
        { one_two: Box<i64>, b: Box<str> }
        { #[serde(rename = "one_two")] a: i64, b: String }
        { one_two: i64, b: String, #[serde(skip)] _c: u8 }
        #[serde(rename_all = "camelCase")] { #[serde(rename = "one_two")] a: i64, b: String }
        #[serde(rename = "Other")] { one_two: i64, b: String }
    };
    assert!(same.iter().all(|fingerprint| *fingerprint == same[0]), "{same:x?}");
    let attributes = shapes! {
        { #[serde(default, alias = "x")] a: i64 }
        { #[serde(alias = "x", default)] a: i64 }
        { #[serde(alias = "x")] #[serde(default)] a: i64 }
    };
    assert!(attributes.iter().all(|fingerprint| *fingerprint == attributes[0]), "{attributes:x?}");
    let renamed = shapes! {
        #[serde(rename_all = "camelCase")] { one_two: i64 }
        { #[serde(rename = "oneTwo")] one_two: i64 }
    };
    assert_eq!(renamed[0], renamed[1]);
    assert_eq!(of::<BTreeMap<String, u8>>(), of::<HashMap<String, u8>>());
}

/// Returns the fingerprints of enums with these attributes and variants.
macro_rules! enums {
    ($($(#[$meta:meta])* { $($variants:tt)* })*) => {
        [$({
            #[derive(Serialize, Deserialize, Shape)]
            $(#[$meta])*
            enum Payload { $($variants)* }
            of::<Payload>()
        }),*]
    };
}

#[test]
fn an_enums_fingerprint_covers_its_variants_and_their_tagging() {
    assert_all_differ(&enums! {
        { OneTwo { a: i64 }, B }
        { OneTwo { a: i64 } }
        { OneTwo { b: i64 }, B }
        { OneTwo(i64), B }
        { OneTwo(i64, i64), B }
        { OneTwo { a: i64 }, #[serde(other)] B }
        #[serde(tag = "t")] { OneTwo { a: i64 }, B }
        #[serde(tag = "t", content = "c")] { OneTwo { a: i64 }, B }
        #[serde(untagged)] { OneTwo { a: i64 }, B }
        #[serde(untagged)] { B, OneTwo { a: i64 } }
        #[serde(rename_all = "snake_case")] { OneTwo { a: i64 }, B }
        #[serde(rename_all_fields = "UPPERCASE")] { OneTwo { a: i64 }, B }
    });
    let same = enums! {
        { OneTwo { a: i64, b: u8 }, #[serde(rename = "C")] B }
        { C, OneTwo { b: u8, a: i64 } }
        #[serde(rename_all = "snake_case")] { #[serde(rename = "C")] B, #[serde(rename = "OneTwo")] X { a: i64, b: u8 } }
    };
    assert!(same.iter().all(|fingerprint| *fingerprint == same[0]), "{same:x?}");
}

/// Returns the fingerprint of a payload around a nested type.
macro_rules! around {
    ($($nested:item)*) => {
        [$({
            #[derive(Serialize, Deserialize, Shape)]
            struct Payload { nested: Vec<Option<Nested>> }
            $nested
            of::<Payload>()
        }),*]
    };
}

#[test]
fn a_nested_type_counts_by_its_shape_or_by_its_name() {
    let shaped = around! {
        #[derive(Serialize, Deserialize, Shape)] struct Nested { a: i64 }
        #[derive(Serialize, Deserialize, Shape)] struct Nested { a: i32 }
        #[derive(Serialize, Deserialize)] struct Nested { a: i64 }
    };
    assert_all_differ(&shaped);
    let opaque = around! {
        #[derive(Serialize, Deserialize)] struct Nested { a: i64 }
        #[derive(Serialize, Deserialize)] struct Nested { a: i32 }
    };
    assert_eq!(opaque[0], opaque[1]);
}

#[derive(Serialize, Deserialize, Shape)]
struct Tree {
    left: Option<Box<Self>>,
    right: Option<Box<Tree>>,
    leaves: Vec<Leaf>,
}

#[derive(Serialize, Deserialize, Shape)]
struct Leaf {
    on: Option<Box<Tree>>,
    size: u8,
}

/// The same name, with a field of another size.
mod other {
    use super::{Deserialize, Serialize, Shape};

    #[derive(Serialize, Deserialize, Shape)]
    pub(super) struct Tree {
        left: Option<Box<Self>>,
        right: Option<Box<Tree>>,
        leaves: Vec<Leaf>,
    }

    #[derive(Serialize, Deserialize, Shape)]
    pub(super) struct Leaf {
        on: Option<Box<Tree>>,
        size: u16,
    }
}

#[derive(Serialize, Deserialize, Shape)]
struct Page<T> {
    items: Vec<T>,
    next: Option<Box<Page<T>>>,
    of: Option<Box<Self>>,
}

#[test]
fn recursive_types_have_a_fingerprint() {
    const OF_TREE: u64 = fingerprint(<Tree as Shape>::SHAPE);
    assert_ne!(OF_TREE, of::<other::Tree>());
    assert_ne!(of::<Leaf>(), of::<other::Leaf>());
    assert_eq!(of::<Page<u8>>(), of::<Page<Tree>>(), "one channel, one shape, whatever it is made with");
}
