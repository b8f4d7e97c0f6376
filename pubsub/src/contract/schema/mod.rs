//! The JSON Schema of a payload, and descriptions of payloads for readers without the Rust types: as JSON Schema or
//! TypeScript.

#[cfg(feature = "schema")]
mod channel_schema;
#[cfg(feature = "schema")]
mod document;
#[cfg(feature = "schema")]
mod export;
mod payload_schema;
#[cfg(feature = "schema")]
mod typescript;

#[cfg(feature = "schema")]
pub(crate) use channel_schema::ChannelSchema;
#[cfg(feature = "schema")]
pub use export::SchemaFormat;
#[cfg(feature = "schema")]
pub(crate) use export::write;
pub use payload_schema::{DerivedSchema, HasSchema, SchemaOf, WithoutSchema, strict_channel_has_schema};
