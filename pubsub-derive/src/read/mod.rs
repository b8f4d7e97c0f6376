//! Reads a type and its attributes: tokens in, typed values out, each with the tokens that it came from.
//!
//! This stage knows which keys exist and what type each takes. [`crate::check`] knows which values are allowed.

pub(crate) mod channel_attr;
pub(crate) mod doc_comment;
pub(crate) mod duration;
pub(crate) mod field_path;
pub(crate) mod fields;
pub(crate) mod item;
pub(crate) mod layout;
pub(crate) mod redaction;
pub(crate) mod serde_attrs;
pub(crate) mod template;
pub(crate) mod value;
