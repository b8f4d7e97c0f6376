//! A relative path, which has another meaning in each module.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

mod events {
    pub use pubsub;
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", crate = events::pubsub)]
struct OrderPaid {
    id: i64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
