//! The fingerprint of a shape.

use super::type_shape::{ShapeRef, TypeShape};

/// The most types that a fingerprint covers. A type beyond them counts by its kind only.
const MAX_TYPES: usize = 256;

/// Returns the fingerprint of a shape, which is never 0.
#[must_use]
pub const fn fingerprint(shape: ShapeRef) -> u64 {
    let hasher = ShapeHasher { hash: FNV_OFFSET, seen: [0; MAX_TYPES], count: 0 }.shape(shape.get());
    if hasher.hash == 0 { 1 } else { hasher.hash }
}

/// Returns the hash of a text, for [`TypeShape::id`].
#[must_use]
pub const fn type_id(text: &str) -> u64 {
    fnv(FNV_OFFSET, text.as_bytes())
}

// FNV-1a is short, and can be const.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut at = 0;
    while at < bytes.len() {
        hash = (hash ^ bytes[at] as u64).wrapping_mul(FNV_PRIME);
        at += 1;
    }
    hash
}

/// Hashes a shape. A type that was hashed before counts by its place in that order, so that a shape that refers to itself
/// comes to an end.
struct ShapeHasher {
    hash: u64,
    seen: [u64; MAX_TYPES],
    count: usize,
}

impl ShapeHasher {
    /// Hashes a text and an end mark, a byte that no UTF-8 contains.
    const fn text(mut self, text: &str) -> Self {
        self.hash = fnv(fnv(self.hash, text.as_bytes()), &[0xff]);
        self
    }

    const fn texts(mut self, texts: &[&str]) -> Self {
        let mut at = 0;
        while at < texts.len() {
            self = self.text(texts[at]);
            at += 1;
        }
        self.text("")
    }

    const fn shape(mut self, shape: &TypeShape) -> Self {
        if shape.id != 0 {
            let mut at = 0;
            while at < self.count {
                if self.seen[at] == shape.id {
                    self.hash = fnv(self.hash, &[0xfe, at as u8]);
                    return self;
                }
                at += 1;
            }
            if self.count == MAX_TYPES {
                return self.text(shape.kind);
            }
            self.seen[self.count] = shape.id;
            self.count += 1;
        }
        self = self.text(shape.kind).texts(shape.serde);
        let mut at = 0;
        while at < shape.members.len() {
            let member = &shape.members[at];
            self = self.text(member.name).texts(member.serde);
            self = match member.shape {
                Some(shape) => self.shape(shape.get()),
                None => self.text("opaque").text(member.type_name),
            };
            at += 1;
        }
        self.text("")
    }
}
