//! A key of a type without fields.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = id)]
struct OrderPaid;

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
