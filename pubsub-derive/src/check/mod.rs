//! Applies the rules to the attributes. An attribute that breaks a rule is reported, and left out of the result.

pub(crate) mod backoff;
pub(crate) mod channel;
pub(crate) mod duration;
pub(crate) mod field_access;
pub(crate) mod keys;
pub(crate) mod older_version;
pub(crate) mod payload_type;
pub(crate) mod retention;
