//! An older version with settings for its delivery.

use pubsub::OlderVersion;
use serde::Deserialize;

#[derive(Deserialize, OlderVersion)]
#[channel("order.paid", version = 1, max_attempts = 3)]
struct OrderPaidV1 {
    id: i64,
}

fn is_older<V: OlderVersion>() {}

fn main() {
    is_older::<OrderPaidV1>();
}
