//! An older version that cannot be read.

use pubsub::OlderVersion;

#[derive(OlderVersion)]
#[channel("order.paid", version = 1)]
struct OrderPaidV1 {
    id: i64,
}

fn is_older<V: OlderVersion>() {}

fn main() {
    is_older::<OrderPaidV1>();
}
