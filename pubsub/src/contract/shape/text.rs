//! Comparison of texts at compile time.

/// Whether two texts are equal.
#[must_use]
pub(in crate::contract) const fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut at = 0;
    while at < a.len() {
        if a[at] != b[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether `wanted` is among the attributes. If it ends with a `=`, any value counts.
pub(super) const fn has(attributes: &[&str], wanted: &str) -> bool {
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

/// Whether a text starts with another.
pub(super) const fn starts(text: &str, prefix: &str) -> bool {
    let text = text.as_bytes();
    text.len() >= prefix.len() && same(text.split_at(prefix.len()).0, prefix.as_bytes())
}

/// Whether two texts are equal.
pub(super) const fn is(a: &str, b: &str) -> bool {
    same(a.as_bytes(), b.as_bytes())
}
