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
