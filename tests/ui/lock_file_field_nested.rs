//! A payload whose nested type has changed.

use pubsub::{Channel, Shape};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("locked.order")]
struct Order {
    id: i64,
    #[serde(default)]
    note: Option<String>,
    ship_to: Address,
}

#[derive(Serialize, Deserialize, Shape)]
struct Address {
    street: String,
    city: String,
}


fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<Order>();
}
