//! A type that serde cannot write.

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
