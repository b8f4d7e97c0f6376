//! A field of a flattened struct.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Order {
    order_id: i64,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = order_id)]
struct OrderPaid {
    #[serde(flatten)]
    order: Order,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
