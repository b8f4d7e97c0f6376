//! A union with keys, which is reported once.

use pubsub::Channel;

#[derive(Channel)]
#[channel("order.paid", key = id, ordered, dedupe = "{nothing}")]
union OrderPaid {
    id: i64,
    number: u32,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
