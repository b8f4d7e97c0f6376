//! An older version without a conversion.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct OrderPaidV1 {
    id: i32,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", version = 2, upcast_from = OrderPaidV1)]
struct OrderPaid {
    id: i64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
