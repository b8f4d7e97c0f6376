//! A name from a constant.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

mod names {
    pub const ORDER_PAID: &str = "order.paid";
}

#[derive(Serialize, Deserialize, Channel)]
#[channel(names::ORDER_PAID)]
struct OrderPaid {
    id: i64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
