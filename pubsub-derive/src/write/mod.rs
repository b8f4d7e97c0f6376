//! Writes the implementations. After an error, the output is a fallback, so that the compiler reports nothing else.

pub(crate) mod channel;
pub(crate) mod channel_name;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod older_version;
pub(crate) mod redacted_debug;
pub(crate) mod schema;
pub(crate) mod shape;
pub(crate) mod upcast;
