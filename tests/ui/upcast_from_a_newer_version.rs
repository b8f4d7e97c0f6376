//! An older version that is newer.

use pubsub::{Channel, OlderVersion};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, OlderVersion)]
#[channel("order.paid", version = 2, upcast_from = none)]
struct OrderPaidV1 {
    id: i32,
}

impl From<OrderPaidV1> for OrderPaid {
    fn from(old: OrderPaidV1) -> Self {
        Self { id: old.id.into() }
    }
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
