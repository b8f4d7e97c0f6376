//! A retention that is shorter than the default retries.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", retention = "1h")]
struct OrderPaid {
    order_id: i64,
    customer: String,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
