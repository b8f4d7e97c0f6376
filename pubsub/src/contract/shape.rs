//! The shape of a payload: how its JSON looks, as far as its types say. Shapes are compared by their fingerprints, and with
//! lock files.

mod compatible;
mod std_types;

pub(super) use compatible::is_compatible;
pub use compatible::{is_compatible_member, is_same_kind};

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// A type with a known shape: its fields, their types and serde attributes. The shapes of a payload's fields are part of its
/// channel's fingerprint.
///
/// Implemented for the types of the standard library, and by `#[derive(Channel)]`. Derive it for every other type that
/// payloads are made of. A type without a shape counts by its name only, so that no change of it is noticed.
///
/// ```
/// use pubsub::{Channel, Shape};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize, Shape)]
/// struct Address {
///     street: String,
///     city: String,
/// }
///
/// #[derive(Serialize, Deserialize, Channel)]
/// #[channel("customer.moved")]
/// struct CustomerMoved {
///     customer: i64,
///     to: Address,
/// }
/// ```
pub trait Shape {
    /// The shape.
    #[doc(hidden)]
    const SHAPE: ShapeRef;
}

/// A reference to the shape of a type.
///
/// A type may contain itself, so its shape may refer to itself. When the compiler evaluates a constant it follows references,
/// which would never end, and does not follow what may be uninitialized.
#[derive(Clone, Copy)]
pub struct ShapeRef(MaybeUninit<&'static TypeShape>);

impl ShapeRef {
    /// Returns a reference to `shape`.
    #[must_use]
    pub const fn to(shape: &'static TypeShape) -> Self {
        Self(MaybeUninit::new(shape))
    }

    /// Returns the shape.
    #[must_use]
    pub const fn get(self) -> &'static TypeShape {
        // SAFETY: `to` is the only way to make one, and initializes it.
        unsafe { self.0.assume_init() }
    }
}

impl fmt::Debug for ShapeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the whole shape, which may refer to itself.
        f.debug_tuple("ShapeRef").field(&self.get().kind).finish()
    }
}

/// The shape of one type.
#[derive(Debug)]
pub struct TypeShape {
    /// Identifies the type where a shape refers to itself; 0 for a type that cannot. Not part of the fingerprint.
    pub id: u64,
    /// `struct`, `enum`, `list`, `string`, ..
    pub kind: &'static str,
    /// The serde attributes that change what is written or read.
    pub serde: &'static [&'static str],
    /// Fields or variants, sorted by name, or the contents of a container.
    pub members: &'static [Member],
}

/// A field, a variant, or the content of a container.
#[derive(Debug)]
pub struct Member {
    /// The name in the JSON.
    pub name: &'static str,
    /// The serde attributes that change what is written or read.
    pub serde: &'static [&'static str],
    /// The shape of the type, if it has one.
    pub shape: Option<ShapeRef>,
    /// The name of a type without a shape, as the source spells it.
    pub type_name: &'static str,
}

/// Finds the shape of a type, if it has one. An inherent item goes before that of a trait where its bounds hold, so the
/// compiler picks [`WithoutShape`] for the other types.
#[derive(Debug)]
pub struct ShapeOf<T: ?Sized>(PhantomData<T>);

impl<T: Shape + ?Sized> ShapeOf<T> {
    /// The shape.
    pub const SHAPE: Option<ShapeRef> = Some(T::SHAPE);
}

/// The fallback for a [`ShapeOf`] a type without a shape.
pub trait WithoutShape {
    /// `None`.
    const SHAPE: Option<ShapeRef> = None;
}

impl<T: ?Sized> WithoutShape for ShapeOf<T> {}

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

/// Whether two texts are equal.
#[must_use]
pub(super) const fn same(a: &[u8], b: &[u8]) -> bool {
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
