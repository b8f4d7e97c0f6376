//! A union.

use pubsub::Channel;

#[derive(Channel)]
#[channel("order.paid")]
union OrderPaid {
    id: i64,
    total: u64,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
