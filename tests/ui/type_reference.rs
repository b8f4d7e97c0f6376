//! A field that borrows.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid")]
struct OrderPaid<'a> {
    customer: &'a str,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid<'static>>();
}
