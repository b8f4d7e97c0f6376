//! serde reads all that a lock file allows: in both directions, for every pair of an old and a new type below.

mod specimens;
mod zoo;

use pubsub::__private::shape::{TypeShape, is_compatible_member, is_same_kind};
use pubsub::Shape;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Whether the lock file of `old` allows `new`, as the derive asks.
fn is_allowed(old: &TypeShape, new: &TypeShape) -> bool {
    let remains = |name: &str| new.members.iter().any(|member| member.name == name);
    is_same_kind(old, new)
        && old.members.iter().all(|member| remains(member.name))
        && new.members.iter().all(|member| is_compatible_member(old, new, member.name))
}

fn reads<T: DeserializeOwned>(values: &[impl Serialize]) -> bool {
    values.iter().all(|value| {
        let json = serde_json::to_vec(value).expect("it is written");
        serde_json::from_slice::<T>(&json).is_ok()
    })
}

/// Checks one pair. `allowed` is what the lock file has to say.
fn check<Old, New>(pair: &str, allowed: bool, olds: &[Old], news: &[New])
where
    Old: Shape + Serialize + DeserializeOwned,
    New: Shape + Serialize + DeserializeOwned,
{
    assert_eq!(is_allowed(Old::SHAPE.get(), New::SHAPE.get()), allowed, "{pair}");
    let is_read = reads::<New>(olds) && reads::<Old>(news);
    assert_eq!(is_read, allowed, "{pair}: serde");
}

/// Defines an old and a new type, and checks them with values of each.
macro_rules! pair {
    ($name:ident, $allowed:literal, { $($old:item)* } => [$($o:expr),*], { $($new:item)* } => [$($n:expr),*]) => {
        #[test]
        fn $name() {
            mod old {
                use pubsub::Shape;
                use serde::{Deserialize, Serialize};
                $(#[derive(Serialize, Deserialize, Shape)] $old)*
                pub(super) fn values() -> Vec<T> { vec![$($o),*] }
            }
            mod new {
                use pubsub::Shape;
                use serde::{Deserialize, Serialize};
                $(#[derive(Serialize, Deserialize, Shape)] $new)*
                pub(super) fn values() -> Vec<T> { vec![$($n),*] }
            }
            check(stringify!($name), $allowed, &old::values(), &new::values());
        }
    };
}

pair!(an_optional_field_may_be_added, true,
    { pub(super) struct T { a: u8 } } => [T { a: 1 }],
    { pub(super) struct T { a: u8, b: Option<String> } } => [T { a: 1, b: None }, T { a: 1, b: Some("x".into()) }]);

pair!(a_field_without_default_may_not_be_added, false,
    { pub(super) struct T { a: u8 } } => [T { a: 1 }],
    { pub(super) struct T { a: u8, b: u8 } } => [T { a: 1, b: 2 }]);

pair!(a_field_may_not_be_added_for_a_strict_reader, false,
    { #[serde(deny_unknown_fields)] pub(super) struct T { a: u8 } } => [T { a: 1 }],
    { #[serde(deny_unknown_fields)] pub(super) struct T { a: u8, b: Option<u8> } } => [T { a: 1, b: Some(2) }]);

pair!(an_option_with_a_function_may_not_become_missing, false,
    { pub(super) struct T { #[serde(deserialize_with = "super::number")] a: Option<u8> } } => [T { a: None }],
    { pub(super) struct T {
        #[serde(deserialize_with = "super::number", skip_serializing_if = "Option::is_none")] a: Option<u8>
    } } => [T { a: None }]);

fn number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<u8>, D::Error> {
    serde::Deserialize::deserialize(from)
}

pair!(a_unit_variant_may_be_added_beside_a_fallback, true,
    { pub(super) enum T { A, #[serde(other)] Other } } => [T::A, T::Other],
    { pub(super) enum T { A, B, #[serde(other)] Other } } => [T::A, T::B, T::Other]);

pair!(a_variant_with_data_may_not_be_added, false,
    { pub(super) enum T { A, #[serde(other)] Other } } => [T::A],
    { pub(super) enum T { A, B { n: i64 }, #[serde(other)] Other } } => [T::A, T::B { n: 1 }]);

pair!(a_variant_with_data_may_be_added_beside_an_inner_tag, true,
    { #[serde(tag = "t")] pub(super) enum T { A, #[serde(other)] Other } } => [T::A],
    { #[serde(tag = "t")] pub(super) enum T { A, B { n: i64 }, #[serde(other)] Other } } => [T::A, T::B { n: 1 }]);

pair!(a_variant_with_data_may_not_be_added_in_a_content, false,
    { #[serde(tag = "t", content = "c")] pub(super) enum T { A, #[serde(other)] Other } } => [T::A],
    { #[serde(tag = "t", content = "c")] pub(super) enum T { A, B { n: i64 }, #[serde(other)] Other } } => [T::B { n: 1 }]);

pair!(a_unit_variant_may_be_added_in_a_content, true,
    { #[serde(tag = "t", content = "c")] pub(super) enum T { A, #[serde(other)] Other } } => [T::A],
    { #[serde(tag = "t", content = "c")] pub(super) enum T { A, B, #[serde(other)] Other } } => [T::B]);

pair!(a_variant_may_not_be_added_without_a_fallback, false,
    { pub(super) enum T { A } } => [T::A],
    { pub(super) enum T { A, B } } => [T::B]);

pair!(a_flattened_enum_takes_no_new_variant, false,
    { pub(super) struct T { #[serde(flatten)] e: E } enum E { A { n: u8 }, #[serde(other)] Other } }
        => [T { e: E::A { n: 1 } }],
    { pub(super) struct T { #[serde(flatten)] e: E } enum E { A { n: u8 }, B { n: u8 }, #[serde(other)] Other } }
        => [T { e: E::B { n: 1 } }]);

pair!(a_flattened_enum_with_an_inner_tag_takes_a_new_variant, true,
    { pub(super) struct T { #[serde(flatten)] e: E } #[serde(tag = "t")] enum E { A { n: u8 }, #[serde(other)] Other } }
        => [T { e: E::A { n: 1 } }],
    { pub(super) struct T { #[serde(flatten)] e: E }
      #[serde(tag = "t")] enum E { A { n: u8 }, B { n: u8 }, #[serde(other)] Other } }
        => [T { e: E::B { n: 1 } }]);

pair!(a_variant_may_be_added_deep_inside, true,
    { pub(super) struct T { list: Vec<E> } #[serde(tag = "t")] enum E { A, #[serde(other)] Other } } => [T { list: vec![E::A] }],
    { pub(super) struct T { list: Vec<E> } #[serde(tag = "t")] enum E { A, B { x: u8 }, #[serde(other)] Other } }
        => [T { list: vec![E::B { x: 1 }] }]);

pair!(an_optional_field_may_be_added_to_a_variant, true,
    { pub(super) enum T { A { x: u8 } } } => [T::A { x: 1 }],
    { pub(super) enum T { A { x: u8, y: Option<u8> } } } => [T::A { x: 1, y: Some(2) }, T::A { x: 1, y: None }]);

pair!(a_field_may_be_read_under_another_name_too, true,
    { pub(super) struct T { a: u8 } } => [T { a: 1 }],
    { pub(super) struct T { #[serde(alias = "b")] a: u8 } } => [T { a: 1 }]);

pair!(a_number_may_not_become_wider, false,
    { pub(super) struct T { a: u8 } } => [T { a: 1 }],
    { pub(super) struct T { a: u16 } } => [T { a: 300 }]);

pair!(a_tuple_keeps_its_length, false,
    { pub(super) struct T(u8, u8); } => [T(1, 2)],
    { pub(super) struct T(u8, u8, Option<u8>); } => [T(1, 2, Some(3))]);
