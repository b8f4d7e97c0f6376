//! An older version of version 1.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct OrderPaidV1 {
    id: i32,
}

impl From<OrderPaidV1> for OrderPaid {
    fn from(old: OrderPaidV1) -> Self {
        Self { id: old.id.into() }
    }
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", upcast_from = OrderPaidV1)]
struct OrderPaid {
    id: i64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
