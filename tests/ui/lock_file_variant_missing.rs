//! A payload that lost a variant of its lock file.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.payment")]
#[serde(tag = "kind")]
enum Payment {
    Card { number: String },
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<Payment>();
}
