//! Writes the implementations, also after an error: then as a fallback, so that the error is the only one.

pub(crate) mod channel;
pub(crate) mod channel_name;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod older_version;
pub(crate) mod redacted_debug;
pub(crate) mod schema;
pub(crate) mod shape;
pub(crate) mod upcast;
