//! A strict channel with a generic payload.

use pubsub::Channel;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, JsonSchema, Channel)]
#[channel("envelope", strict)]
struct Envelope<T> {
    content: T,
}

fn main() {}
