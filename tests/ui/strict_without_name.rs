//! A strict channel without a name.

use pubsub::Channel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema, Channel)]
#[channel(strict)]
struct OrderPaid {
    id: i64,
}

fn main() {}
