//! A flag with a value.

use pubsub::Channel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema, Channel)]
#[channel("order.paid", strict = true)]
struct OrderPaid {
    id: i64,
}

fn main() {}
