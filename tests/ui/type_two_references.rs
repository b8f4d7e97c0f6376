//! Two fields that borrow, and a mistake in the attribute.

use pubsub::Channel;
use serde::Serialize;

#[derive(Serialize, Channel)]
#[channel("order paid")]
struct OrderPaid<'a> {
    customer: &'a str,
    items: Vec<&'a [u8]>,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid<'static>>();
}
