//! A payload that lost a field of its lock file.

use pubsub::{Channel, Shape};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.order")]
struct Order {
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
