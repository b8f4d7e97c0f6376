//! An older version with a redacted field, which has no effect.

use pubsub::OlderVersion;
use serde::Deserialize;

#[derive(Deserialize, OlderVersion)]
#[channel("user.email", version = 1)]
pub struct EmailV1 {
    #[channel(redact)]
    pub to: String,
}

fn main() {}
