//! Whether events of one shape can be read by a type of another, both ways: by who is deployed next to what is in the log,
//! and by who still runs to what is published next.

use super::{Node, Part, same};

/// Pairs of types that are compared; what is beyond counts as the same.
const MAX_PAIRS: usize = 256;

/// Whether each of two shapes reads what the other writes: they are the same, but for what was added and has a default.
pub(crate) const fn reads(old: &Node, new: &Node) -> bool {
    Comparison { seen: [(0, 0); MAX_PAIRS], count: 0, same: true }.nodes(old, new).same
}

/// A walk through two shapes. A pair of types that it has been at counts as the same: it has been looked at, or is just being.
struct Comparison {
    seen: [(u64, u64); MAX_PAIRS],
    count: usize,
    same: bool,
}

/// Whether two shapes are of one kind, and serde is told the same of both; whatever their parts are.
#[must_use]
pub const fn same_kind(old: &Node, new: &Node) -> bool {
    is(old.kind, new.kind) && may_become(old.serde, new.serde, true)
}

/// Whether a field or a variant of the new shape is what it was in the old one, or may be added.
#[must_use]
pub const fn part_holds(old: &Node, new: &Node, name: &str) -> bool {
    match (find(old.parts, name), find(new.parts, name)) {
        (Some(was), Some(part)) => {
            let mut comparison = Comparison { seen: [(0, 0); MAX_PAIRS], count: 1, same: true };
            // Its type may come back to this one, which is being looked at.
            comparison.seen[0] = (old.id, new.id);
            comparison.parts(was, part).same
        }
        (None, Some(part)) => may_be_added(part, old, new),
        (_, None) => true,
    }
}

impl Comparison {
    const fn require(mut self, holds: bool) -> Self {
        self.same &= holds;
        self
    }

    const fn nodes(mut self, old: &Node, new: &Node) -> Self {
        if !self.same {
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
            return self.named(old, new);
        }
        self = self.require(old.parts.len() == new.parts.len());
        let mut at = 0;
        while at < old.parts.len() && self.same {
            // The name of an array's part is its length.
            self = self.require(is(old.parts[at].name, new.parts[at].name));
            self = self.parts(&old.parts[at], &new.parts[at]);
            at += 1;
        }
        self
    }

    /// Fields or variants: all that were there are, and what was added does no harm.
    const fn named(mut self, old: &Node, new: &Node) -> Self {
        let mut at = 0;
        while at < old.parts.len() {
            self = match find(new.parts, old.parts[at].name) {
                Some(part) => self.parts(&old.parts[at], part),
                None => self.require(false),
            };
            at += 1;
        }
        let mut at = 0;
        while at < new.parts.len() {
            if find(old.parts, new.parts[at].name).is_none() {
                self = self.require(may_be_added(&new.parts[at], old, new));
            }
            at += 1;
        }
        self
    }

    const fn parts(mut self, old: &Part, new: &Part) -> Self {
        let is_optional = match old.node {
            Some(link) => is(link.node().kind, "option"),
            None => false,
        };
        self = self.require(may_become(old.serde, new.serde, is_optional || has(old.serde, "default")));
        match (old.node, new.node) {
            (Some(old), Some(new)) => self.nodes(old.node(), new.node()),
            (None, None) => self.require(is(old.written, new.written)),
            // Only one of them has a shape: nothing can be told, and nothing is claimed.
            _ => self.require(false),
        }
    }
}

/// Whether a field or a variant may be added.
const fn may_be_added(part: &Part, old: &Node, new: &Node) -> bool {
    if !is(new.kind, "struct") && !is(new.kind, "enum") {
        return false;
    }
    if is(new.kind, "enum") {
        // Whoever knows the old ones alone cannot read it, unless he takes any.
        let mut at = 0;
        while at < old.parts.len() {
            if has(old.parts[at].serde, "other") {
                return true;
            }
            at += 1;
        }
        return false;
    }
    let is_option = match part.node {
        Some(link) => is(link.node().kind, "option"),
        None => false,
    };
    // serde takes a missing `Option` for `None`, unless a function of the user's reads it.
    let by_itself = is_option && !has(part.serde, "with=") && !has(part.serde, "deserialize_with=");
    let optional = by_itself || has(part.serde, "default") || has(new.serde, "default");
    optional && !has(old.serde, "deny_unknown_fields")
}

/// Whether attributes may change like this: all stay, and what is added only makes a reader more patient. `optional`: a
/// reader of the old ones does not miss what is left out.
const fn may_become(old: &[&str], new: &[&str], optional: bool) -> bool {
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
        let patient = is(new[at], "default")
            || starts(new[at], "alias=")
            || (is(new[at], "skip_serializing_if") && optional);
        if added && !patient {
            return false;
        }
        at += 1;
    }
    true
}

const fn find<'a>(parts: &'a [Part], name: &str) -> Option<&'a Part> {
    let mut at = 0;
    while at < parts.len() {
        if is(parts[at].name, name) {
            return Some(&parts[at]);
        }
        at += 1;
    }
    None
}

/// Whether an attribute is among these, or one that starts like this, if it ends with a `=`.
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
    use crate::contract::shape::Link;

    const fn node(kind: &'static str, serde: &'static [&'static str], parts: &'static [Part]) -> Node {
        Node { id: 0, kind, serde, parts }
    }

    const fn part(name: &'static str, serde: &'static [&'static str], node: &'static Node) -> Part {
        Part { name, serde, node: Some(Link::to(node)), written: "" }
    }

    static TEXT: Node = node("string", &[], &[]);
    static NUMBER: Node = node("u8", &[], &[]);
    static OPTION: Node = node("option", &[], &[part("", &[], &TEXT)]);
    const FOREIGN: Part = Part { name: "a", serde: &[], node: None, written: "x::Y" };

    /// Whether a struct with these fields may become one with those.
    fn fields<const OLD: usize, const NEW: usize>(old: [Part; OLD], new: [Part; NEW]) -> bool {
        becomes("struct", &[], old, new)
    }

    fn becomes<const OLD: usize, const NEW: usize>(
        kind: &'static str,
        serde: &'static [&'static str],
        old: [Part; OLD],
        new: [Part; NEW],
    ) -> bool {
        reads(&node(kind, serde, Vec::from(old).leak()), &node(kind, serde, Vec::from(new).leak()))
    }

    #[test]
    fn what_may_be_missing_may_be_added() {
        const A: Part = part("a", &[], &TEXT);
        assert!(fields([A], [A]));
        assert!(fields([A], [A, part("b", &[], &OPTION)]));
        assert!(fields([A], [A, part("b", &["default"], &NUMBER)]));
        assert!(!fields([A], [A, part("b", &[], &NUMBER)]));
        assert!(!fields([A], [A, part("b", &["with=\"f\""], &OPTION)]));
        assert!(!fields([A, part("b", &[], &OPTION)], [A]), "an old one may need it");
        let strict = becomes("struct", &["deny_unknown_fields"], [A], [A, part("b", &[], &OPTION)]);
        assert!(!strict, "an old one would refuse it");
    }

    #[test]
    fn a_field_keeps_its_type_and_may_only_become_more_patient() {
        assert!(!fields([part("a", &[], &TEXT)], [part("a", &[], &NUMBER)]));
        assert!(!fields([part("a", &[], &TEXT)], [part("a", &[], &OPTION)]));
        assert!(fields([part("a", &[], &TEXT)], [part("a", &["alias=\"b\"", "default"], &TEXT)]));
        assert!(!fields([part("a", &["default"], &TEXT)], [part("a", &[], &TEXT)]));
        assert!(!fields([part("a", &[], &TEXT)], [part("a", &["skip_serializing_if"], &TEXT)]));
        assert!(fields([part("a", &[], &OPTION)], [part("a", &["skip_serializing_if"], &OPTION)]));
        assert!(fields([FOREIGN], [FOREIGN]));
        assert!(!fields([FOREIGN], [part("a", &[], &TEXT)]), "nothing can be told");
    }

    #[test]
    fn a_variant_may_be_added_where_whoever_does_not_know_it_takes_it_for_another() {
        const A: Part = part("A", &[], &TEXT);
        const OTHER: Part = part("Other", &["other"], &TEXT);
        assert!(!becomes("enum", &[], [A], [A, part("B", &[], &TEXT)]));
        assert!(becomes("enum", &[], [A, OTHER], [A, OTHER, part("B", &[], &TEXT)]));
        assert!(!becomes("enum", &[], [A, OTHER], [OTHER]));
    }
}
