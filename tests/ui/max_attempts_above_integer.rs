//! More attempts than the database can count.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", max_attempts = 2147483648)]
struct OrderPaid {
    id: i64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
