//! A borrowing field is refused once, also if it is a key.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = customer, ordered)]
struct OrderPaid<'a> {
    customer: &'a str,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid<'static>>();
}
