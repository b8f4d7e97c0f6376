//! L1: the code that the output of the macros relies on: a payload's shape, keys, older versions, schema and lock file. It
//! uses no other module of the library.

pub mod channel_name;
pub mod key;
pub mod lock_file;
pub mod older_version;
pub mod redact;
pub mod routed;
pub mod schema;
pub mod shape;
