//! What payloads look like, for those who do not have the Rust types: found where the derive can see it, and written as
//! JSON Schema or TypeScript.

#[cfg(feature = "schema")]
mod document;
#[cfg(feature = "schema")]
mod typescript;

use std::marker::PhantomData;

/// Finds the JSON Schema of a payload type, if it has one.
#[derive(Debug)]
pub struct SchemaProbe<T>(pub PhantomData<T>);

/// Of a type that derives `schemars::JsonSchema`.
pub trait BySchemars {
    /// Its JSON Schema, draft 2020-12, of what can be read: a field with a default may be missing.
    fn json_schema(&self) -> Option<serde_json::Value>;
}

#[cfg(feature = "schema")]
impl<T: schemars::JsonSchema> BySchemars for SchemaProbe<T> {
    fn json_schema(&self) -> Option<serde_json::Value> {
        let settings = schemars::generate::SchemaSettings::draft2020_12().for_deserialize();
        Some(settings.into_generator().into_root_schema_for::<T>().to_value())
    }
}

/// Of any other. A method call takes it only if there is no [`BySchemars`].
pub trait WithoutSchema {
    /// Nothing.
    fn json_schema(&self) -> Option<serde_json::Value> {
        None
    }
}

impl<T> WithoutSchema for &SchemaProbe<T> {}

/// Of a payload type: it can be strict.
#[diagnostic::on_unimplemented(
    message = "channel `{Self}` is strict, but `{Self}` has no JSON Schema to hold its payloads against",
    label = "needs a JSON Schema",
    note = "add `#[derive(schemars::JsonSchema)]` to `{Self}`, and the feature `schema` to `pubsub`"
)]
pub trait HasSchema {}

#[cfg(feature = "schema")]
#[diagnostic::do_not_recommend]
impl<T: schemars::JsonSchema> HasSchema for T {}

/// Compiles if a type can be strict.
pub const fn strict_channel_has_schema<T: HasSchema>() {}

/// What the schemas of channels are written as.
#[cfg(feature = "schema")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaFormat {
    /// One JSON Schema, draft 2020-12, of every event: `channel`, `version`, `payload`, `key` and `headers`.
    JsonSchema,
    /// TypeScript: a namespace for each channel with its payload's types, and a type of every event.
    TypeScript,
}

/// One version of a channel, and what its payload looks like.
#[cfg(feature = "schema")]
#[derive(Debug, Clone)]
pub(crate) struct ChannelSchema {
    pub(crate) channel: String,
    pub(crate) version: u32,
    pub(crate) description: String,
    pub(crate) schema: serde_json::Value,
}

/// Writes the schemas of channels; a final line break included.
#[cfg(feature = "schema")]
pub(crate) fn write(schemas: &[ChannelSchema], format: SchemaFormat) -> String {
    match format {
        SchemaFormat::JsonSchema => document::write(schemas),
        SchemaFormat::TypeScript => typescript::write(schemas),
    }
}
