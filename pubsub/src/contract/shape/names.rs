//! The names that a type reads in an object, which a new field beside it must not take.

use super::text::{has, is, starts};
use super::type_shape::{Member, TypeShape};

/// The most types inside of each other that are searched. What lies deeper counts as reading every name.
const MAX_DEPTH: u32 = 32;

/// Whether a type reads this name: as a field, as a tag, in what is flattened into it, or because it reads every name.
pub(super) const fn reads(of: &TypeShape, name: &str) -> bool {
    reads_within(of, name, MAX_DEPTH)
}

const fn reads_within(of: &TypeShape, name: &str, depth: u32) -> bool {
    let (is_struct, is_enum) = (is(of.kind, "struct"), is(of.kind, "enum"));
    if depth == 0 || is(of.kind, "map") || is(of.kind, "json") {
        return true;
    }
    let is_transparent = is(of.kind, "option") || is(of.kind, "newtype") || is(of.kind, "converted");
    if !is_struct && !is_enum && !is_transparent {
        return false;
    }
    if has_value(of.serde, "tag=\"", name) || has_value(of.serde, "content=\"", name) {
        return true;
    }
    let mut at = 0;
    while at < of.members.len() {
        let member = &of.members[at];
        let shares_object = if is_struct {
            has(member.serde, "flatten")
        } else {
            !is_enum || shares_object_with_content(of, member)
        };
        let is_name = is_struct && !shares_object || is_enum && is_by_name(of, member);
        if is_name && is_named(member, name) {
            return true;
        }
        if shares_object {
            let reads = match member.shape {
                Some(inside) => reads_within(inside.get(), name, depth - 1),
                None => true,
            };
            if reads {
                return true;
            }
        }
        at += 1;
    }
    false
}

/// Whether the fields of a variant stand in the object of the enum itself.
pub(super) const fn shares_object_with_content(of: &TypeShape, variant: &Member) -> bool {
    has(of.serde, "untagged")
        || has(variant.serde, "untagged")
        || has(of.serde, "tag=") && !has(of.serde, "content=")
}

/// Whether a variant is a field of the enum's object.
const fn is_by_name(of: &TypeShape, variant: &Member) -> bool {
    !has(of.serde, "tag=") && !shares_object_with_content(of, variant)
}

/// Whether one of these fields or variants has this name, or is read under it.
pub(super) const fn is_any_named(members: &[Member], name: &str) -> bool {
    let mut at = 0;
    while at < members.len() {
        if is_named(&members[at], name) {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether a field or a variant has this name, or is read under it.
const fn is_named(member: &Member, name: &str) -> bool {
    let (read, written) = both_names(member.name);
    is(member.name, name) || is(read, name) || is(written, name) || has_value(member.serde, "alias=\"", name)
}

/// Returns the name that is read and the one that is written.
pub(super) const fn both_names(name: &str) -> (&str, &str) {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'|' {
            let (read, rest) = bytes.split_at(at);
            return (text(read), text(rest.split_at(1).1));
        }
        at += 1;
    }
    (name, name)
}

/// Returns the name in `alias="name"`.
pub(super) const fn alias(attribute: &str) -> Option<&str> {
    if !starts(attribute, "alias=\"") {
        return None;
    }
    let (_, quoted) = attribute.as_bytes().split_at("alias=\"".len());
    Some(text(quoted.split_at(quoted.len() - 1).0))
}

/// Whether an attribute gives a text this value.
const fn has_value(attributes: &[&str], start: &str, value: &str) -> bool {
    let mut at = 0;
    while at < attributes.len() {
        let attribute = attributes[at];
        if attribute.len() == start.len() + value.len() + 1 && starts(attribute, start) {
            let (_, quoted) = attribute.as_bytes().split_at(start.len());
            if is(text(quoted.split_at(value.len()).0), value) {
                return true;
            }
        }
        at += 1;
    }
    false
}

/// Returns a piece of a text. One that is cut within a character is no name.
const fn text(bytes: &[u8]) -> &str {
    match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => "",
    }
}
