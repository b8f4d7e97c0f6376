//! The JSON Schema of a payload, and descriptions of payloads for readers without the Rust types: as JSON Schema or
//! TypeScript.

#[cfg(feature = "schema")]
mod document;
#[cfg(feature = "schema")]
mod typescript;

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

/// The format of exported schemas.
#[cfg(feature = "schema")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaFormat {
    /// One JSON Schema, draft 2020-12, of every event: `channel`, `version`, `payload`, `key` and `headers`.
    JsonSchema,
    /// TypeScript: a namespace for each channel with its payload's types, and a type of every event.
    TypeScript,
}

/// The schema of one version of a channel's payload.
#[cfg(feature = "schema")]
#[derive(Debug, Clone)]
pub(crate) struct ChannelSchema {
    pub(crate) channel: String,
    pub(crate) version: u32,
    pub(crate) description: String,
    pub(crate) schema: serde_json::Value,
}

/// Writes the schemas of channels, with a line break at the end.
#[cfg(feature = "schema")]
pub(crate) fn write(schemas: &[ChannelSchema], format: SchemaFormat) -> String {
    match format {
        SchemaFormat::JsonSchema => document::write(schemas),
        SchemaFormat::TypeScript => typescript::write(schemas),
    }
}
