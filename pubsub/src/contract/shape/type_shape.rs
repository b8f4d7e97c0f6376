//! The shape of a type: its fields or variants, their types and serde attributes.

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
/// A type may contain itself, so its shape may refer to itself. The compiler follows the references in a constant, which would
/// never end here, but it does not follow what may be uninitialized.
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

/// Finds the shape of a type, if it has one. The compiler prefers an inherent item to that of a trait where its bounds hold,
/// so it picks [`WithoutShape`] for all other types.
#[derive(Debug)]
pub struct ShapeOf<T: ?Sized>(PhantomData<T>);

impl<T: Shape + ?Sized> ShapeOf<T> {
    /// The shape.
    pub const SHAPE: Option<ShapeRef> = Some(T::SHAPE);
}

/// The fallback for a type without a shape.
pub trait WithoutShape {
    /// `None`.
    const SHAPE: Option<ShapeRef> = None;
}

impl<T: ?Sized> WithoutShape for ShapeOf<T> {}
