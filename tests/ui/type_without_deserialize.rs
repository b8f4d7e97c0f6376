//! A type that serde can write, and not read.

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
