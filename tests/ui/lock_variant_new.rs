//! Whoever knows the old variants alone cannot read a new one.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.payment")]
#[serde(tag = "kind")]
enum Payment {
    Card { number: String },
    Cash,
    Cheque,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<Payment>();
}
