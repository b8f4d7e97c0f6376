//! A retention that is shorter than the retries.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", max_attempts = 5, backoff(initial = "1m", factor = 2, max = "1h"), retention = "10m")]
struct OrderPaid {
    order_id: i64,
    customer: String,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
