//! A template without a field, which gives all events the same deduplication key.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", dedupe = "order_id")]
struct OrderPaid {
    order_id: i64,
    customer: String,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
