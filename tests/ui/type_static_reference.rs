//! A `'static` reference cannot be read back either.

use pubsub::Channel;
use serde::Serialize;

#[derive(Serialize, Channel)]
#[channel("order.paid")]
struct OrderPaid {
    customer: &'static str,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
