//! Compares two shapes of a payload: are they compatible in both directions? The new type reads the events in the log, and
//! processes that still run with the old type read the events that are published from now on.

use super::names::{alias, both_names, is_any_named, reads, shares_object_with_content};
use super::text::{has, is, starts};
use super::type_shape::{Member, TypeShape};

/// The most pairs of types that are compared. A pair beyond them counts as compatible.
const MAX_PAIRS: usize = 256;

/// Whether each of two shapes reads what the other writes: they differ only in members that were added and have a default.
pub(in crate::contract) const fn is_compatible(old: &TypeShape, new: &TypeShape) -> bool {
    Comparison::NEW.shapes(old, new).compatible
}

/// A walk through two shapes. A pair of types that it has met before counts as compatible: that comparison is done, or is
/// under way.
struct Comparison<'a> {
    /// Both types, and what they are part of.
    seen: [(u64, u64, u64); MAX_PAIRS],
    count: usize,
    compatible: bool,
    /// The old type whose object in the JSON the members are in, if it is not their own: they are flattened into it.
    object: Option<&'a TypeShape>,
    /// Whether an untagged enum tells its variants apart by what they accept, so that none may accept more.
    is_exact: bool,
}

/// Whether two shapes have the same kind and compatible serde attributes, whatever their members are.
#[must_use]
pub const fn is_same_kind(old: &TypeShape, new: &TypeShape) -> bool {
    is(old.kind, new.kind) && may_become(old.serde, new.serde, true, true) && keeps_order(old, new)
}

/// Whether the member `name` of the new shape is compatible with that of the old one, or may be added to it.
#[must_use]
pub const fn is_compatible_member(old: &TypeShape, new: &TypeShape, name: &str) -> bool {
    match (find(old.members, name), find(new.members, name)) {
        (Some(before), Some(now)) => {
            let mut comparison = Comparison::NEW;
            comparison.count = 1;
            // The member may contain the type that it is a member of, whose comparison is under way.
            comparison.seen[0] = (old.id, new.id, 0);
            comparison.members(old, before, now).compatible
        }
        (None, Some(added)) => may_be_added(added, old, new, old),
        (_, None) => true,
    }
}

impl<'a> Comparison<'a> {
    const NEW: Self =
        Self { seen: [(0, 0, 0); MAX_PAIRS], count: 0, compatible: true, object: None, is_exact: false };

    const fn require(mut self, holds: bool) -> Self {
        self.compatible &= holds;
        self
    }

    const fn shapes(mut self, old: &'a TypeShape, new: &TypeShape) -> Self {
        if !self.compatible {
            return self;
        }
        if old.id != 0 {
            let object = match self.object {
                Some(object) => object.id,
                None => 0,
            };
            let pair = (old.id, new.id, object.wrapping_add(self.is_exact as u64));
            let mut at = 0;
            while at < self.count {
                let seen = self.seen[at];
                if seen.0 == pair.0 && seen.1 == pair.1 && seen.2 == pair.2 {
                    return self;
                }
                at += 1;
            }
            if self.count == MAX_PAIRS {
                return self;
            }
            self.seen[self.count] = pair;
            self.count += 1;
        }
        let accepts_more = !self.is_exact;
        self = self.require(is(old.kind, new.kind) && may_become(old.serde, new.serde, true, accepts_more));
        if is(old.kind, "struct") || is(old.kind, "enum") {
            return self.require(keeps_order(old, new)).named_members(old, new);
        }
        self = self.require(old.members.len() == new.members.len());
        let mut at = 0;
        while at < old.members.len() && self.compatible {
            // The name of an array's member is its length.
            self = self.require(is(old.members[at].name, new.members[at].name));
            self = self.members(old, &old.members[at], &new.members[at]);
            at += 1;
        }
        self
    }

    /// Compares fields or variants: all the old ones must remain, and none may be added that old readers cannot handle.
    const fn named_members(mut self, old: &'a TypeShape, new: &TypeShape) -> Self {
        let mut at = 0;
        while at < old.members.len() {
            self = match find(new.members, old.members[at].name) {
                Some(member) => self.members(old, &old.members[at], member),
                None => self.require(false),
            };
            at += 1;
        }
        let object = match self.object {
            Some(object) => object,
            None => old,
        };
        let mut at = 0;
        while at < new.members.len() {
            if find(old.members, new.members[at].name).is_none() {
                self = self.require(may_be_added(&new.members[at], old, new, object));
            }
            at += 1;
        }
        self
    }

    /// Compares a member of the type `of`.
    const fn members(mut self, of: &'a TypeShape, old: &'a Member, new: &Member) -> Self {
        let object = match self.object {
            Some(object) => object,
            None => of,
        };
        let is_field = is(of.kind, "struct");
        let accepts_more = !self.is_exact;
        self = self
            .require(may_become(old.serde, new.serde, is_field && may_be_missing(old), accepts_more))
            .require(!takes_an_alias(old.serde, new.serde, of, object));
        let (outer_object, outer_is_exact) = (self.object, self.is_exact);
        self.object = if is_field && has(old.serde, "flatten") {
            Some(object)
        } else if is_field || is(of.kind, "enum") && !shares_object_with_content(of, old) {
            None
        } else {
            self.object
        };
        self.is_exact |= is(of.kind, "enum") && (has(of.serde, "untagged") || has(old.serde, "untagged"));
        self = match (old.shape, new.shape) {
            (Some(before), Some(now)) => {
                let (before, now) = (before.get(), now.get());
                // serde finds a flattened enum by the names of the variants it knows, even if it has one for all others.
                let (inside, inside_now) = (unwrapped(before), unwrapped(now));
                let is_found_by_name =
                    has(old.serde, "flatten") && is(inside.kind, "enum") && !has(inside.serde, "tag=");
                self = self.require(!is_found_by_name || inside.members.len() == inside_now.members.len());
                self.shapes(before, now)
            }
            (None, None) => self.require(is(old.type_name, new.type_name)),
            // Only one of them has a shape, so the two cannot be compared.
            _ => self.require(false),
        };
        self.object = outer_object;
        self.is_exact = outer_is_exact;
        self
    }
}

/// The most wrappers around a type that are taken off.
const MAX_WRAPPERS: usize = 16;

/// Returns what an `Option` or a newtype contains.
const fn unwrapped(mut shape: &TypeShape) -> &TypeShape {
    let mut left = MAX_WRAPPERS;
    while left > 0 && (is(shape.kind, "option") || is(shape.kind, "newtype")) && shape.members.len() == 1 {
        match shape.members[0].shape {
            Some(inside) => shape = inside.get(),
            None => return shape,
        }
        left -= 1;
    }
    shape
}

/// Whether the variants of an untagged enum are in their order: serde reads the first one that fits.
const fn keeps_order(old: &TypeShape, new: &TypeShape) -> bool {
    if !has(old.serde, "untagged") {
        return true;
    }
    let mut at = 0;
    while at < old.members.len() && at < new.members.len() {
        if !is(old.members[at].name, new.members[at].name) {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether a field or a variant may be added to the type `old`, whose fields are in the object of the type `object`.
const fn may_be_added(member: &Member, old: &TypeShape, new: &TypeShape, object: &TypeShape) -> bool {
    if !is(new.kind, "struct") && !is(new.kind, "enum") {
        return false;
    }
    let (read, written) = both_names(member.name);
    if is(new.kind, "enum") {
        // A reader with the old variants only cannot read a new one, unless it has a variant for all others. That one has no
        // data, and serde skips the data of an unknown variant only where it stands beside the tag.
        let skips_data = has(old.serde, "tag=") && !has(old.serde, "content=");
        let is_plain = !has(member.serde, "with=") && !has(member.serde, "serialize_with=");
        return has_fallback(old)
            && is_plain
            && !is_any_named(old.members, written)
            && (skips_data || is_of_kind(member, "unit"));
    }
    // serde never leaves out what is flattened.
    (may_be_missing(member) || has(new.serde, "default"))
        && !has(member.serde, "flatten")
        && !has(old.serde, "deny_unknown_fields")
        && !reads(object, read)
        && !reads(object, written)
        && !takes_an_alias(&[], member.serde, old, object)
}

/// Whether an alias among the new attributes is a name that the old type, or what is in its object, reads already.
const fn takes_an_alias(old: &[&str], new: &[&str], of: &TypeShape, object: &TypeShape) -> bool {
    let mut at = 0;
    while at < new.len() {
        if let Some(name) = alias(new[at])
            && !has(old, new[at])
            && (is_any_named(of.members, name) || is(of.kind, "struct") && reads(object, name))
        {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether an enum has a variant for all others.
const fn has_fallback(of: &TypeShape) -> bool {
    let mut at = 0;
    while at < of.members.len() {
        if has(of.members[at].serde, "other") {
            return true;
        }
        at += 1;
    }
    false
}

/// Whether a reader accepts that a field is left out. serde reads a missing `Option` as `None`, unless a function of the user's
/// reads it.
const fn may_be_missing(field: &Member) -> bool {
    let is_none =
        is_of_kind(field, "option") && !has(field.serde, "with=") && !has(field.serde, "deserialize_with=");
    is_none || has(field.serde, "default")
}

/// Whether a member has a shape, and it is of this kind.
const fn is_of_kind(member: &Member, kind: &str) -> bool {
    match member.shape {
        Some(shape) => is(shape.get().kind, kind),
        None => false,
    }
}

/// Whether serde attributes may change like this: all the old ones remain, and those that are added only make a reader
/// accept more, if it `may_accept_more`. If the value `may_be_missing`, an old reader accepts that it is left out.
const fn may_become(old: &[&str], new: &[&str], may_be_missing: bool, may_accept_more: bool) -> bool {
    let mut at = 0;
    while at < old.len() {
        if !has(new, old[at]) {
            return false;
        }
        at += 1;
    }
    let mut at = 0;
    while at < new.len() {
        let added = !has(old, new[at]);
        let accepts_more = may_accept_more && (is(new[at], "default") || starts(new[at], "alias="))
            || (is(new[at], "skip_serializing_if") && may_be_missing);
        if added && !accepts_more {
            return false;
        }
        at += 1;
    }
    true
}

const fn find<'a>(members: &'a [Member], name: &str) -> Option<&'a Member> {
    let mut at = 0;
    while at < members.len() {
        if is(members[at].name, name) {
            return Some(&members[at]);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::shape::type_shape::ShapeRef;

    const fn shape(
        kind: &'static str,
        serde: &'static [&'static str],
        members: &'static [Member],
    ) -> TypeShape {
        TypeShape { id: 0, kind, serde, members }
    }

    const fn member(name: &'static str, serde: &'static [&'static str], shape: &'static TypeShape) -> Member {
        Member { name, serde, shape: Some(ShapeRef::to(shape)), type_name: "" }
    }

    static TEXT: TypeShape = shape("string", &[], &[]);
    static UNIT: TypeShape = shape("unit", &[], &[]);
    static NUMBER: TypeShape = shape("u8", &[], &[]);
    static OPTION: TypeShape = shape("option", &[], &[member("", &[], &TEXT)]);
    const FOREIGN: Member = Member { name: "a", serde: &[], shape: None, type_name: "x::Y" };

    /// Whether a struct with the `old` fields may become one with the `new` fields.
    fn fields<const OLD: usize, const NEW: usize>(old: [Member; OLD], new: [Member; NEW]) -> bool {
        becomes("struct", &[], old, new)
    }

    fn becomes<const OLD: usize, const NEW: usize>(
        kind: &'static str,
        serde: &'static [&'static str],
        old: [Member; OLD],
        new: [Member; NEW],
    ) -> bool {
        is_compatible(&shape(kind, serde, Vec::from(old).leak()), &shape(kind, serde, Vec::from(new).leak()))
    }

    #[test]
    fn an_optional_member_may_be_added() {
        const A: Member = member("a", &[], &TEXT);
        assert!(fields([A], [A]));
        assert!(fields([A], [A, member("b", &[], &OPTION)]));
        assert!(fields([A], [A, member("b", &["default"], &NUMBER)]));
        assert!(!fields([A], [A, member("b", &[], &NUMBER)]));
        assert!(!fields([A], [A, member("b", &["with=\"f\""], &OPTION)]));
        assert!(!fields([A, member("b", &[], &OPTION)], [A]), "an old reader may need it");
        let strict = becomes("struct", &["deny_unknown_fields"], [A], [A, member("b", &[], &OPTION)]);
        assert!(!strict, "an old reader would refuse it");
    }

    #[test]
    fn a_field_keeps_its_type_and_may_accept_more() {
        assert!(!fields([member("a", &[], &TEXT)], [member("a", &[], &NUMBER)]));
        assert!(!fields([member("a", &[], &TEXT)], [member("a", &[], &OPTION)]));
        assert!(fields([member("a", &[], &TEXT)], [member("a", &["alias=\"b\"", "default"], &TEXT)]));
        assert!(!fields([member("a", &["default"], &TEXT)], [member("a", &[], &TEXT)]));
        assert!(!fields([member("a", &[], &TEXT)], [member("a", &["skip_serializing_if"], &TEXT)]));
        assert!(fields([member("a", &[], &OPTION)], [member("a", &["skip_serializing_if"], &OPTION)]));
        assert!(fields([FOREIGN], [FOREIGN]));
        assert!(!fields([FOREIGN], [member("a", &[], &TEXT)]), "they cannot be compared");
    }

    #[test]
    fn a_variant_may_be_added_if_old_readers_have_a_fallback() {
        const A: Member = member("A", &[], &TEXT);
        const OTHER: Member = member("Other", &["other"], &TEXT);
        assert!(!becomes("enum", &[], [A], [A, member("B", &[], &TEXT)]));
        for (tagged, data_is_skipped) in
            [(&[][..], false), (&["tag=\"t\""], true), (&["tag=\"t\"", "content=\"c\""], false)]
        {
            assert!(becomes("enum", tagged, [A, OTHER], [A, OTHER, member("B", &[], &UNIT)]));
            let with_data = becomes("enum", tagged, [A, OTHER], [A, OTHER, member("B", &[], &TEXT)]);
            assert_eq!(with_data, data_is_skipped, "{tagged:?}");
        }
        assert!(!becomes("enum", &[], [A, OTHER], [OTHER]));
    }
}
