//! A field that no variant has.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = order)]
enum OrderPaid {
    Card { order_id: i64, number: String },
    Cash { order_id: i64 },
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
