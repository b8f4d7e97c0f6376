//! Writes the schemas of channels, for readers without the Rust types.

use super::channel_schema::ChannelSchema;
use super::{document, typescript};

/// The format of exported schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchemaFormat {
    /// One JSON Schema, draft 2020-12, of every event: `channel`, `version`, `payload`, `key` and `headers`.
    JsonSchema,
    /// TypeScript: a namespace for each channel with its payload's types, and a type of every event.
    TypeScript,
}

/// Writes the schemas of channels, with a line break at the end.
pub(crate) fn write(schemas: &[ChannelSchema], format: SchemaFormat) -> String {
    match format {
        SchemaFormat::JsonSchema => document::write(schemas),
        SchemaFormat::TypeScript => typescript::write(schemas),
    }
}
