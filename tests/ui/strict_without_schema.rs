//! A strict channel whose payload has no JSON Schema.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", strict)]
struct OrderPaid {
    id: i64,
}

fn main() {}
