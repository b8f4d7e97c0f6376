//! A payload with a new field that may not be missing.

use pubsub::{Channel, Shape};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.order")]
struct Order {
    id: i64,
    #[serde(default)]
    note: Option<String>,
    ship_to: Address,
    total: u64,
}

#[derive(Serialize, Deserialize, Shape)]
struct Address {
    street: String,
}


fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<Order>();
}
