//! An older version is never shown: redacting its fields would do nothing.

use pubsub::OlderVersion;
use serde::Deserialize;

#[derive(Deserialize, OlderVersion)]
#[channel("user.email", version = 1)]
pub struct EmailV1 {
    #[channel(redact)]
    pub to: String,
}

fn main() {}
