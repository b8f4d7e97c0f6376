//! An older version without its number.

use pubsub::OlderVersion;
use serde::Deserialize;

#[derive(Deserialize, OlderVersion)]
#[channel("order.paid")]
struct OrderPaidV1 {
    id: i64,
}

fn is_older<V: OlderVersion>() {}

fn main() {
    is_older::<OrderPaidV1>();
}
