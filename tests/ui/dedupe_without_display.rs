//! A part of the dedupe key is of a type that cannot be shown as text.

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
