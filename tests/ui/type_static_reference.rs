//! A field with a `'static` reference, which cannot be read back.

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
