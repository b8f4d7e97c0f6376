//! A field that only some variants have.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = order_id)]
enum OrderPaid {
    Card { order_id: i64, number: String },
    Cash { order_id: i64 },
    Gift,
    Points(u32),
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
