//! Compares two shapes of a payload: are they compatible in both directions? The new type reads the events in the log, and
//! processes that still run with the old type read the events that are published from now on.

use super::text::same;
use super::type_shape::{Member, TypeShape};

/// The most pairs of types that are compared. A pair beyond them counts as compatible.
const MAX_PAIRS: usize = 256;

/// Whether each of two shapes reads what the other writes: they differ only in members that were added and have a default.
pub(in crate::contract) const fn is_compatible(old: &TypeShape, new: &TypeShape) -> bool {
    Comparison { seen: [(0, 0); MAX_PAIRS], count: 0, compatible: true }.shapes(old, new).compatible
}

/// A walk through two shapes. A pair of types that it has met before counts as compatible: that comparison is done, or is
/// under way.
struct Comparison {
    seen: [(u64, u64); MAX_PAIRS],
    count: usize,
    compatible: bool,
}

/// Whether two shapes have the same kind and compatible serde attributes, whatever their members are.
#[must_use]
pub const fn is_same_kind(old: &TypeShape, new: &TypeShape) -> bool {
    is(old.kind, new.kind) && may_become(old.serde, new.serde, true)
}

/// Whether the member `name` of the new shape is compatible with that of the old one, or may be added to it.
#[must_use]
pub const fn is_compatible_member(old: &TypeShape, new: &TypeShape, name: &str) -> bool {
    match (find(old.members, name), find(new.members, name)) {
        (Some(before), Some(now)) => {
            let mut comparison = Comparison { seen: [(0, 0); MAX_PAIRS], count: 1, compatible: true };
            // The member may contain the type that it is a member of, whose comparison is under way.
            comparison.seen[0] = (old.id, new.id);
            comparison.members(before, now).compatible
        }
        (None, Some(added)) => may_be_added(added, old, new),
        (_, None) => true,
    }
}

impl Comparison {
    const fn require(mut self, holds: bool) -> Self {
        self.compatible &= holds;
        self
    }

    const fn shapes(mut self, old: &TypeShape, new: &TypeShape) -> Self {
        if !self.compatible {
            return self;
        }
        if old.id != 0 {
            let mut at = 0;
            while at < self.count {
                if self.seen[at].0 == old.id && self.seen[at].1 == new.id {
                    return self;
                }
                at += 1;
            }
            if self.count == MAX_PAIRS {
                return self;
            }
            self.seen[self.count] = (old.id, new.id);
            self.count += 1;
        }
        self = self.require(is(old.kind, new.kind) && may_become(old.serde, new.serde, true));
        if is(old.kind, "struct") || is(old.kind, "enum") {
            return self.named_members(old, new);
        }
        self = self.require(old.members.len() == new.members.len());
        let mut at = 0;
        while at < old.members.len() && self.compatible {
            // The name of an array's member is its length.
            self = self.require(is(old.members[at].name, new.members[at].name));
            self = self.members(&old.members[at], &new.members[at]);
            at += 1;
        }
        self
    }

    /// Compares fields or variants: all the old ones must remain, and none may be added that old readers cannot handle.
    const fn named_members(mut self, old: &TypeShape, new: &TypeShape) -> Self {
        let mut at = 0;
        while at < old.members.len() {
            self = match find(new.members, old.members[at].name) {
                Some(member) => self.members(&old.members[at], member),
                None => self.require(false),
            };
            at += 1;
        }
        let mut at = 0;
        while at < new.members.len() {
            if find(old.members, new.members[at].name).is_none() {
                self = self.require(may_be_added(&new.members[at], old, new));
            }
            at += 1;
        }
        self
    }

    const fn members(mut self, old: &Member, new: &Member) -> Self {
        self = self.require(may_become(old.serde, new.serde, may_be_missing(old)));
        match (old.shape, new.shape) {
            (Some(before), Some(now)) => {
                let (before, now) = (before.get(), now.get());
                // serde finds a flattened enum by the names of the variants it knows, even if it has one for all others.
                let is_found_by_name =
                    has(old.serde, "flatten") && is(before.kind, "enum") && !has(before.serde, "tag=");
                self = self.require(!is_found_by_name || before.members.len() == now.members.len());
                self.shapes(before, now)
            }
            (None, None) => self.require(is(old.type_name, new.type_name)),
            // Only one of them has a shape, so the two cannot be compared.
            _ => self.require(false),
        }
    }
}

/// Whether a field or a variant may be added.
const fn may_be_added(member: &Member, old: &TypeShape, new: &TypeShape) -> bool {
    if !is(new.kind, "struct") && !is(new.kind, "enum") {
        return false;
    }
    if is(new.kind, "enum") {
        // A reader with the old variants only cannot read a new one, unless it has a variant for all others. That one has no
        // data, and serde skips the data of an unknown variant only where it stands beside the tag.
        let skips_data = has(old.serde, "tag=") && !has(old.serde, "content=");
        return has_fallback(old) && (skips_data || is_of_kind(member, "unit"));
    }
    (may_be_missing(member) || has(new.serde, "default")) && !has(old.serde, "deny_unknown_fields")
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
/// accept more. If the value `may_be_missing`, an old reader accepts that it is left out.
const fn may_become(old: &[&str], new: &[&str], may_be_missing: bool) -> bool {
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
        let accepts_more = is(new[at], "default")
            || starts(new[at], "alias=")
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

/// Whether `wanted` is among the attributes. If it ends with a `=`, any value counts.
const fn has(attributes: &[&str], wanted: &str) -> bool {
    let prefix = !wanted.is_empty() && wanted.as_bytes()[wanted.len() - 1] == b'=';
    let mut at = 0;
    while at < attributes.len() {
        if is(attributes[at], wanted) || prefix && starts(attributes[at], wanted) {
            return true;
        }
        at += 1;
    }
    false
}

const fn starts(text: &str, prefix: &str) -> bool {
    let text = text.as_bytes();
    text.len() >= prefix.len() && same(text.split_at(prefix.len()).0, prefix.as_bytes())
}

const fn is(a: &str, b: &str) -> bool {
    same(a.as_bytes(), b.as_bytes())
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
