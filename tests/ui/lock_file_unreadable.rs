//! A lock file that `pubsub schema lock` did not write.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.unreadable")]
struct Order {
    id: i64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<Order>();
}
