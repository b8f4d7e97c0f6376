//! An `Option` of a type that does not implement `Display`.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
enum Kind {
    Card,
    Cash,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = kind)]
struct OrderPaid {
    kind: Option<Kind>,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
