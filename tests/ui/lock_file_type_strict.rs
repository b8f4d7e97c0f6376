//! A payload that refuses what its lock file allows.

use pubsub::{Channel, Shape};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.order")]
#[serde(deny_unknown_fields)]
struct Order {
    id: i64,
    #[serde(default)]
    note: Option<String>,
    ship_to: Address,
}

#[derive(Serialize, Deserialize, Shape)]
struct Address {
    street: String,
}


fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<Order>();
}
