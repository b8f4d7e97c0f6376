//! A type that serde can write, but not read back.

use pubsub::Channel;
use serde::Serialize;

#[derive(Serialize, Channel)]
#[channel("order.paid")]
struct OrderPaid {
    id: i64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
