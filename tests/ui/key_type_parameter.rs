//! A field of a type parameter without `Display`.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = id)]
struct OrderPaid<T> {
    id: T,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid<i64>>();
}
