//! A type that serde can neither write nor read.

use pubsub::Channel;

#[derive(Channel)]
#[channel("order.paid")]
struct OrderPaid {
    id: i64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
