//! Finds the JSON Schema of a payload.

use std::marker::PhantomData;

/// Finds the JSON Schema of a payload type, if it has one.
#[derive(Debug)]
pub struct SchemaOf<T>(pub PhantomData<T>);

/// The schema of a type that derives `schemars::JsonSchema`.
pub trait DerivedSchema {
    /// Returns a JSON Schema, draft 2020-12, of every payload that can be read: a field with a default may be missing.
    fn json_schema(&self) -> Option<serde_json::Value>;
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> DerivedSchema for SchemaOf<T> {
    fn json_schema(&self) -> Option<serde_json::Value> {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_deserialize();
        Some(settings.into_generator().into_root_schema_for::<T>().to_value())
    }
}

/// The fallback for any other type. A method call picks it only if [`DerivedSchema`] is not implemented.
pub trait WithoutSchema {
    /// Returns `None`.
    fn json_schema(&self) -> Option<serde_json::Value> {
        None
    }
}

impl<T> WithoutSchema for &SchemaOf<T> {}

/// A payload type whose channel can be strict.
#[diagnostic::on_unimplemented(
    message = "channel `{Self}` is strict, but `{Self}` has no JSON Schema to check its payloads against",
    label = "needs a JSON Schema",
    note = "add `#[derive(schemars::JsonSchema)]` to `{Self}`, and the feature `schema` to `pubsub`"
)]
pub trait HasSchema {}

#[cfg(feature = "schema")]
#[diagnostic::do_not_recommend]
impl<T: schemars::JsonSchema> HasSchema for T {}

/// Compiles if the channel of a type can be strict.
pub const fn strict_channel_has_schema<T: HasSchema>() {}
