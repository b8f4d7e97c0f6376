//! A payload with a new variant that older processes cannot read.

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
