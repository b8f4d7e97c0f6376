//! A template with a field that does not implement `Display`.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Kind {
    Card,
    Cash,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", dedupe = "{order_id}:{kind}")]
struct OrderPaid {
    order_id: i64,
    kind: Kind,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
