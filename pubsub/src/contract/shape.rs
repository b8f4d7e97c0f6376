//! The shape of a payload: what its JSON looks like, as far as its types say. Compared by its fingerprint, and with what a
//! lock file keeps of it.

mod compatible;
mod std_types;

pub(crate) use compatible::reads;
pub use compatible::{part_holds, same_kind};

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// A type whose shape is known: its fields, their types and serde attributes. Part of a channel's fingerprint, where a
/// payload has a field of it.
///
/// Implemented for the standard library's types, and for every channel. Derive it for the types that payloads are made of;
/// what has none counts by its name alone, and then nobody notices that it has changed.
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
    const NODE: Link;
}

/// Where a type is described. A type may come back to itself, so the compiler must not look behind this when it makes a
/// constant of one: it looks behind references, and not into what may be uninitialized.
#[derive(Clone, Copy)]
pub struct Link(MaybeUninit<&'static Node>);

impl Link {
    /// To this description.
    #[must_use]
    pub const fn to(node: &'static Node) -> Self {
        Self(MaybeUninit::new(node))
    }

    /// The description.
    #[must_use]
    pub const fn node(self) -> &'static Node {
        // SAFETY: `to` is the only way to make one, and initializes it.
        unsafe { self.0.assume_init() }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not what is behind it, which may never end.
        f.debug_tuple("Link").field(&self.node().kind).finish()
    }
}

/// A type, in the shape of a payload.
#[derive(Debug)]
pub struct Node {
    /// Tells types apart, for shapes that come back to themselves; 0 for types that cannot. No part of the fingerprint.
    pub id: u64,
    /// `struct`, `enum`, `list`, `string`, ..
    pub kind: &'static str,
    /// serde's attributes, as far as they change what is written or read.
    pub serde: &'static [&'static str],
    /// Fields and variants, sorted by name; or what a container contains.
    pub parts: &'static [Part],
}

/// A field, a variant, or the content of a container.
#[derive(Debug)]
pub struct Part {
    /// As it stands in the JSON.
    pub name: &'static str,
    /// serde's attributes, as far as they change what is written or read.
    pub serde: &'static [&'static str],
    /// The type, if it has a shape.
    pub node: Option<Link>,
    /// The type as it is written, if not.
    pub written: &'static str,
}

/// Finds the shape of a type, if it has one. What is inherent goes before what is a trait's, but only where its bounds hold.
#[derive(Debug)]
pub struct Probe<T: ?Sized>(PhantomData<T>);

impl<T: Shape + ?Sized> Probe<T> {
    /// The shape.
    pub const NODE: Option<Link> = Some(T::NODE);
}

/// The rest: see [`Probe`].
pub trait Opaque {
    /// There is none.
    const NODE: Option<Link> = None;
}

impl<T: ?Sized> Opaque for Probe<T> {}

/// Types that are looked into; what is beyond counts by its kind alone.
const MAX_TYPES: usize = 256;

/// The fingerprint of a shape; never 0.
#[must_use]
pub const fn fingerprint(shape: Link) -> u64 {
    let walk = Walk { hash: FNV_OFFSET, seen: [0; MAX_TYPES], count: 0 }.node(shape.node());
    if walk.hash == 0 { 1 } else { walk.hash }
}

/// The hash of a text.
#[must_use]
pub const fn identity(text: &str) -> u64 {
    fnv(FNV_OFFSET, text.as_bytes())
}

// FNV-1a: short, and const.
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

/// A walk through a shape. A type that it has been at counts by when it was met first, so that it ends.
struct Walk {
    hash: u64,
    seen: [u64; MAX_TYPES],
    count: usize,
}

impl Walk {
    /// A text, and its end: no UTF-8 has this byte.
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

    const fn node(mut self, node: &Node) -> Self {
        if node.id != 0 {
            let mut at = 0;
            while at < self.count {
                if self.seen[at] == node.id {
                    self.hash = fnv(self.hash, &[0xfe, at as u8]);
                    return self;
                }
                at += 1;
            }
            if self.count == MAX_TYPES {
                return self.text(node.kind);
            }
            self.seen[self.count] = node.id;
            self.count += 1;
        }
        self = self.text(node.kind).texts(node.serde);
        let mut at = 0;
        while at < node.parts.len() {
            let part = &node.parts[at];
            self = self.text(part.name).texts(part.serde);
            self = match part.node {
                Some(link) => self.node(link.node()),
                None => self.text("opaque").text(part.written),
            };
            at += 1;
        }
        self.text("")
    }
}

/// Whether two texts are the same.
#[must_use]
pub(crate) const fn same(a: &[u8], b: &[u8]) -> bool {
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
