//! The shape of a payload: the structure of its JSON, as its types define it. Shapes are compared by their fingerprints, and
//! with lock files.

mod compatible;
mod fingerprint;
mod names;
mod std_types;
pub(super) mod text;
mod type_shape;

pub(super) use compatible::is_compatible;
pub use compatible::{is_compatible_member, is_same_kind};
pub use fingerprint::{fingerprint, type_id};
pub use type_shape::{Member, Shape, ShapeOf, ShapeRef, TypeShape, WithoutShape};
