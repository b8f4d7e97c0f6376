//! The schema of a channel, for exports.

/// The schema of one version of a channel's payload.
#[derive(Debug, Clone)]
pub(crate) struct ChannelSchema {
    pub(crate) channel: String,
    pub(crate) version: u32,
    pub(crate) description: String,
    pub(crate) schema: serde_json::Value,
}
