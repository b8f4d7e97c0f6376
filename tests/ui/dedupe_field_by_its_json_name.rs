//! A template with the name that a field has in the JSON.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", dedupe = "{customerName}")]
struct OrderPaid {
    order_id: i64,
    #[serde(rename = "customerName")]
    customer: String,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
