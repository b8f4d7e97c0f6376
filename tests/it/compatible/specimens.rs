//! The specimens: payload types that differ in a single thing from each other, so that many pairs look like a change of one.

use super::zoo::Specimen;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option::of;
use proptest::prelude::*;
use pubsub::Shape;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::num::{NonZeroI64, NonZeroU8};

/// Defines specimens: a type `T` with what it contains, and its values. Each is a payload of its own, flattened into one with and
/// without `Option`, behind a tag, and in an untagged enum.
macro_rules! specimens {
    ($($name:ident: { $($item:item)* } => $values:expr;)*) => {
        $(mod $name {
            use super::*;

            $(#[derive(Debug, Clone, Serialize, Deserialize, Shape)] $item)*

            #[derive(Serialize, Deserialize, Shape)]
            struct Flattened {
                #[serde(flatten)]
                t: T,
            }

            #[derive(Serialize, Deserialize, Shape)]
            struct Optional {
                #[serde(flatten)]
                t: Option<T>,
            }

            #[derive(Serialize, Deserialize, Shape)]
            #[serde(tag = "tag")]
            enum Tagged {
                V(T),
            }

            #[derive(Debug, Serialize, Deserialize, Shape)]
            #[serde(untagged)]
            enum Untagged {
                V(T),
                W { w: u8 },
            }

            pub(super) fn add_to(zoo: &mut Vec<Specimen>) {
                let values = || Strategy::boxed($values);
                let name = stringify!($name);
                zoo.push(Specimen::new(name, "", &values(), &|t: T| t));
                zoo.push(Specimen::new(name, "flattened", &values(), &|t| Flattened { t }));
                zoo.push(Specimen::new(name, "optional", &of(values()).boxed(), &|t| Optional { t }));
                zoo.push(Specimen::new(name, "tagged", &values(), &Tagged::V));
                let either = prop_oneof![
                    values().prop_map(Untagged::V), small().prop_map(|w| Untagged::W { w })
                ];
                zoo.push(Specimen::new(name, "untagged", &either.boxed(), &|untagged| untagged));
            }
        })*

        /// Returns all specimens.
        pub(super) fn specimens() -> Vec<Specimen> {
            let mut zoo = Vec::new();
            $($name::add_to(&mut zoo);)*
            zoo
        }
    };
}

/// A number, often at its end.
fn small() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0), Just(u8::MAX), any::<u8>()]
}

/// A text, often the name of a field.
fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-e]", Just(String::new()), Just("A".to_owned()), "[^\0]{1,3}"]
}

/// Values beside the known fields.
fn rest() -> impl Strategy<Value = BTreeMap<String, u8>> {
    btree_map("[b-d]", small(), 0..3)
}

/// The type that is written and read in place of another: the same words for different ones.
type Wire<T> = <T as Wired>::Wire;

trait Wired {
    type Wire;
}

macro_rules! wire {
    ($wire:ident($content:ty) of $module:ident) => {
        #[derive(Serialize, Deserialize, Shape)]
        struct $wire {
            a: $content,
        }

        impl Wired for $module::T {
            type Wire = $wire;
        }

        impl From<$module::T> for $wire {
            fn from(of: $module::T) -> Self {
                Self { a: of.0.into() }
            }
        }

        impl From<$wire> for $module::T {
            fn from(wire: $wire) -> Self {
                Self(u8::try_from(wire.a).unwrap_or_default())
            }
        }
    };
}

wire!(AsNumber(u8) of converted);
wire!(AsLetter(char) of converted_otherwise);

specimens! {
    byte: { pub(super) struct T { a: u8 } } => small().prop_map(|a| T { a });
    byte_and_option: { pub(super) struct T { a: u8, b: Option<u8> } }
        => (small(), of(small())).prop_map(|(a, b)| T { a, b });
    byte_and_text: { pub(super) struct T { a: u8, b: Option<String> } }
        => (small(), of(text())).prop_map(|(a, b)| T { a, b });
    byte_and_boxed: { pub(super) struct T { a: u8, b: Box<Option<u8>> } }
        => (small(), of(small())).prop_map(|(a, b)| T { a, b: Box::new(b) });
    byte_and_default: { pub(super) struct T { a: u8, #[serde(default)] b: u8 } }
        => (small(), small()).prop_map(|(a, b)| T { a, b });
    byte_and_rare: {
        pub(super) struct T { a: u8, #[serde(skip_serializing_if = "Option::is_none")] b: Option<u8> }
    } => (small(), of(small())).prop_map(|(a, b)| T { a, b });
    all_default: { #[derive(Default)] #[serde(default)] pub(super) struct T { a: u8, c: bool } }
        => (small(), any::<bool>()).prop_map(|(a, c)| T { a, c });
    strict: { #[serde(deny_unknown_fields)] pub(super) struct T { a: u8 } } => small().prop_map(|a| T { a });
    strict_and_option: { #[serde(deny_unknown_fields)] pub(super) struct T { a: u8, b: Option<u8> } }
        => (small(), of(small())).prop_map(|(a, b)| T { a, b });
    renamed: { pub(super) struct T { #[serde(rename = "a")] first: u8, c: Option<bool> } }
        => (small(), any::<Option<bool>>()).prop_map(|(first, c)| T { first, c });
    aliased: { pub(super) struct T { #[serde(alias = "b")] a: u8 } } => small().prop_map(|a| T { a });
    default_byte: { pub(super) struct T { #[serde(default)] a: u8 } } => small().prop_map(|a| T { a });
    skipped: { pub(super) struct T { a: u8, #[serde(skip)] _b: u8 } } => small().prop_map(|a| T { a, _b: 0 });
    tagged_struct: { #[serde(tag = "t")] pub(super) struct T { a: u8 } } => small().prop_map(|a| T { a });

    // Types of a field that look alike.
    wide: { pub(super) struct T { a: u16 } } => any::<u16>().prop_map(|a| T { a });
    signed: { pub(super) struct T { a: i64 } } => prop_oneof![Just(0), any::<i64>()].prop_map(|a| T { a });
    wider: { pub(super) struct T { a: i128 } } => any::<i128>().prop_map(|a| T { a });
    float: { pub(super) struct T { a: f64 } } => any::<f64>().prop_map(|a| T { a });
    float32: { pub(super) struct T { a: f32 } } => any::<f32>().prop_map(|a| T { a });
    not_zero: { pub(super) struct T { a: NonZeroU8 } } => any::<NonZeroU8>().prop_map(|a| T { a });
    signed_not_zero: { pub(super) struct T { a: NonZeroI64 } } => any::<NonZeroI64>().prop_map(|a| T { a });
    wrapping: { pub(super) struct T { a: std::num::Wrapping<u8> } }
        => small().prop_map(|a| T { a: std::num::Wrapping(a) });
    string: { pub(super) struct T { a: String } } => text().prop_map(|a| T { a });
    path: { pub(super) struct T { a: std::path::PathBuf } } => text().prop_map(|a| T { a: a.into() });
    letter: { pub(super) struct T { a: char } } => any::<char>().prop_map(|a| T { a });
    ip: { pub(super) struct T { a: IpAddr } } => any::<IpAddr>().prop_map(|a| T { a });
    ip4: { pub(super) struct T { a: Ipv4Addr } } => any::<Ipv4Addr>().prop_map(|a| T { a });
    ip6: { pub(super) struct T { a: Ipv6Addr } } => any::<Ipv6Addr>().prop_map(|a| T { a });
    socket: { pub(super) struct T { a: SocketAddr } } => any::<SocketAddr>().prop_map(|a| T { a });
    socket4: { pub(super) struct T { a: SocketAddrV4 } } => any::<SocketAddrV4>().prop_map(|a| T { a });
    list: { pub(super) struct T { a: Vec<u8> } } => vec(small(), 0..4).prop_map(|a| T { a });
    set: { pub(super) struct T { a: BTreeSet<u8> } } => btree_set(small(), 0..4).prop_map(|a| T { a });
    array: { pub(super) struct T { a: [u8; 2] } } => any::<[u8; 2]>().prop_map(|a| T { a });
    tuple: { pub(super) struct T { a: (u8, u8) } } => any::<(u8, u8)>().prop_map(|a| T { a });
    map: { pub(super) struct T { a: BTreeMap<String, u8> } } => rest().prop_map(|a| T { a });
    hash_map: { pub(super) struct T { a: std::collections::HashMap<String, u8> } }
        => rest().prop_map(|a| T { a: a.into_iter().collect() });
    map_by_number: { pub(super) struct T { a: BTreeMap<u8, u8> } }
        => btree_map(small(), small(), 0..3).prop_map(|a| T { a });
    optional: { pub(super) struct T { a: Option<u8> } } => of(small()).prop_map(|a| T { a });
    unit: { pub(super) struct T { a: () } } => Just(T { a: () });
    phantom: { pub(super) struct T { a: std::marker::PhantomData<u8> } }
        => Just(T { a: std::marker::PhantomData });
    json: { pub(super) struct T { a: serde_json::Value } } => text().prop_map(|a| T { a: a.into() });
    tree: { pub(super) struct T { a: u8, more: Vec<T> } } => small().prop_map(|a| T { a, more: vec![T { a, more: vec![] }] });
    larger_tree: { pub(super) struct T { a: u8, b: Option<bool>, more: Vec<T> } }
        => (small(), any::<Option<bool>>())
            .prop_map(|(a, b)| T { a, b, more: vec![T { a, b, more: vec![] }] });

    // Structs whose JSON does not show it.
    nothing: { pub(super) struct T; } => Just(T);
    no_elements: { pub(super) struct T(); } => Just(T());
    no_fields: { pub(super) struct T {} } => Just(T {});
    newtype: { pub(super) struct T(u8); } => small().prop_map(T);
    transparent: { #[serde(transparent)] pub(super) struct T { a: u8 } } => small().prop_map(|a| T { a });
    half_skipped: { #[expect(dead_code, reason = "it is skipped")] pub(super) struct T(u8, #[serde(skip)] u8); }
        => small().prop_map(|a| T(a, 0));
    pair: { pub(super) struct T(u8, Option<u8>); } => (small(), of(small())).prop_map(|(a, b)| T(a, b));
    pair_with_default: { pub(super) struct T(u8, #[serde(default)] Option<u8>); }
        => (small(), of(small())).prop_map(|(a, b)| T(a, b));
    shorter_pair: {
        pub(super) struct T(u8, #[serde(default, skip_serializing_if = "Option::is_none")] Option<u8>);
    } => (small(), of(small())).prop_map(|(a, b)| T(a, b));
    converted: {
        #[serde(from = "Wire<T>", into = "Wire<T>")] pub(super) struct T(pub(super) u8);
    } => small().prop_map(T);
    converted_otherwise: {
        #[serde(from = "Wire<T>", into = "Wire<T>")] pub(super) struct T(pub(super) u8);
    } => small().prop_map(T);

    // Flattened fields.
    rest: { pub(super) struct T { a: u8, #[serde(flatten)] rest: BTreeMap<String, u8> } }
        => (small(), rest()).prop_map(|(a, rest)| T { a, rest });
    rest_and_text: { pub(super) struct T { a: u8, b: Option<String>, #[serde(flatten)] rest: BTreeMap<String, u8> } }
        => (small(), of(text()), rest()).prop_map(|(a, b, mut rest)| { rest.remove("b"); T { a, b, rest } });
    rest_and_alias: {
        pub(super) struct T { #[serde(alias = "b")] a: u8, #[serde(flatten)] rest: BTreeMap<String, u8> }
    } => (small(), rest()).prop_map(|(a, rest)| T { a, rest });
    rest_of_json: { pub(super) struct T { a: u8, #[serde(flatten)] rest: BTreeMap<String, serde_json::Value> } }
        => (small(), rest()).prop_map(|(a, rest)| {
            T { a, rest: rest.into_iter().map(|(name, value)| (name, value.into())).collect() }
        });
    part: { pub(super) struct T { a: u8, #[serde(flatten)] s: S } struct S { b: Option<String> } }
        => (small(), of(text())).prop_map(|(a, b)| T { a, s: S { b } });
    part_that_is_hidden: {
        pub(super) struct T {
            a: u8, #[serde(skip_serializing_if = "Option::is_none")] b: Option<u8>, #[serde(flatten)] s: S
        }
        struct S { b: Option<String> }
    } => small().prop_map(|a| T { a, b: None, s: S { b: None } });
    larger_part: { pub(super) struct T { a: u8, #[serde(flatten)] s: S } struct S { b: Option<String>, c: Option<String> } }
        => (small(), of(text()), of(text())).prop_map(|(a, b, c)| T { a, s: S { b, c } });
    larger_beside_part: { pub(super) struct T { a: u8, c: Option<u8>, #[serde(flatten)] s: S } struct S { b: Option<String> } }
        => (small(), of(small()), of(text())).prop_map(|(a, c, b)| T { a, c, s: S { b } });
    added_part: { pub(super) struct T { a: u8, #[serde(default, flatten)] s: S } #[derive(Default)] struct S { c: u8 } }
        => (small(), small()).prop_map(|(a, c)| T { a, s: S { c } });
    part_and_rest: {
        pub(super) struct T { #[serde(flatten)] s: S, #[serde(flatten)] rest: BTreeMap<String, u8> }
        struct S { a: u8 }
    } => (small(), rest()).prop_map(|(a, rest)| T { s: S { a }, rest });
    larger_part_and_rest: {
        pub(super) struct T { #[serde(flatten)] s: S, #[serde(flatten)] rest: BTreeMap<String, u8> }
        struct S { a: u8, b: Option<String> }
    } => (small(), of(text())).prop_map(|(a, b)| T { s: S { a, b }, rest: BTreeMap::new() });
    wrapped_enum: {
        pub(super) struct T { a: u8, #[serde(flatten)] s: S } struct S(E);
        enum E { A { n: u8 }, #[serde(other)] Other }
    } => (small(), small()).prop_map(|(a, n)| T { a, s: S(E::A { n }) });
    larger_wrapped_enum: {
        pub(super) struct T { a: u8, #[serde(flatten)] s: S } struct S(E);
        enum E { A { n: u8 }, B, #[serde(other)] Other }
    } => (small(), small(), any::<bool>())
        .prop_map(|(a, n, is_b)| T { a, s: S(if is_b { E::B } else { E::A { n } }) });

    // Enums.
    variants: { pub(super) enum T { A { a: u8 }, #[serde(other)] Other } }
        => small().prop_map(|a| if a == 0 { T::Other } else { T::A { a } });
    more_variants: { pub(super) enum T { A { a: u8 }, B, #[serde(other)] Other } }
        => small().prop_map(|a| if a == 0 { T::B } else { T::A { a } });
    aliased_variant: { pub(super) enum T { #[serde(alias = "C")] A { a: u8 }, #[serde(other)] Other } }
        => small().prop_map(|a| T::A { a });
    larger_variant: { pub(super) enum T { A { a: u8, b: Option<u8> }, #[serde(other)] Other } }
        => (small(), of(small())).prop_map(|(a, b)| T::A { a, b });
    strict_variants: { #[serde(deny_unknown_fields)] pub(super) enum T { A { a: u8 } } }
        => small().prop_map(|a| T::A { a });
    larger_strict_variant: { #[serde(deny_unknown_fields)] pub(super) enum T { A { a: u8, b: Option<u8> } } }
        => (small(), of(small())).prop_map(|(a, b)| T::A { a, b });
    by_tag: { #[serde(tag = "t")] pub(super) enum T { A { a: u8 }, #[serde(other)] Other } }
        => small().prop_map(|a| T::A { a });
    more_by_tag: { #[serde(tag = "t")] pub(super) enum T { A { a: u8 }, B { b: u8 }, #[serde(other)] Other } }
        => small().prop_map(|a| if a == 0 { T::B { b: a } } else { T::A { a } });
    strict_by_tag: { #[serde(tag = "t", deny_unknown_fields)] pub(super) enum T { A { a: u8 }, #[serde(other)] Other } }
        => small().prop_map(|a| T::A { a });
    more_strict_by_tag: {
        #[serde(tag = "t", deny_unknown_fields)] pub(super) enum T { A { a: u8 }, B { b: u8 }, #[serde(other)] Other }
    } => small().prop_map(|a| if a == 0 { T::B { b: a } } else { T::A { a } });
    by_tag_and_content: { #[serde(tag = "t", content = "c")] pub(super) enum T { A(u8), #[serde(other)] Other } }
        => small().prop_map(T::A);
    more_by_tag_and_content: { #[serde(tag = "t", content = "c")] pub(super) enum T { A(u8), B, #[serde(other)] Other } }
        => small().prop_map(|a| if a == 0 { T::B } else { T::A(a) });
    strict_by_tag_and_content: {
        #[serde(tag = "t", content = "c", deny_unknown_fields)] pub(super) enum T { A { a: u8 }, #[serde(other)] Other }
    } => small().prop_map(|a| T::A { a });
    larger_strict_by_tag_and_content: {
        #[serde(tag = "t", content = "c", deny_unknown_fields)]
        pub(super) enum T { A { a: u8, b: Option<u8> }, B, #[serde(other)] Other }
    } => (small(), of(small())).prop_map(|(a, b)| if a == 0 { T::B } else { T::A { a, b } });
    by_form: { #[serde(untagged)] pub(super) enum T { A { a: u8 }, B { b: u8 } } }
        => small().prop_map(|a| if a < 9 { T::B { b: a } } else { T::A { a } });
    by_form_with_default: { #[serde(untagged)] pub(super) enum T { A { #[serde(default)] a: u8 }, B { b: u8 } } }
        => small().prop_map(|a| T::A { a });
    by_form_with_option: { #[serde(untagged)] pub(super) enum T { A { a: u8, c: Option<u8> }, B { b: u8 } } }
        => (small(), of(small())).prop_map(|(a, c)| T::A { a, c });
    by_form_with_alias: { #[serde(untagged)] pub(super) enum T { A { #[serde(alias = "b")] a: u8 }, B { b: u8 } } }
        => small().prop_map(|a| T::A { a });
    by_form_reordered: { #[serde(untagged)] pub(super) enum T { B { b: u8 }, A { a: u8 } } }
        => small().prop_map(|a| T::A { a });
    number_or_float: { #[serde(untagged)] pub(super) enum T { A(u8), B(f64) } } => small().prop_map(T::A);
    float_or_number: { #[serde(untagged)] pub(super) enum T { B(f64), A(u8) } } => small().prop_map(T::A);
    by_name: { pub(super) struct T { a: BTreeMap<K, u8> } #[derive(PartialEq, Eq, PartialOrd, Ord)] enum K { A, #[serde(other)] Other } }
        => small().prop_map(|n| T { a: [(K::A, n), (K::Other, n)].into() });
    by_more_names: {
        pub(super) struct T { a: BTreeMap<K, u8> } #[derive(PartialEq, Eq, PartialOrd, Ord)] enum K { A, B, #[serde(other)] Other }
    } => small().prop_map(|n| T { a: [(K::A, n), (K::B, n)].into() });
}
