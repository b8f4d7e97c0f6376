//! A key that is not in the payload is nobody else's to tell.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = order_id)]
struct OrderPaid {
    #[serde(skip)]
    order_id: i64,
    customer: String,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
