//! A path to a field that does not exist, inside one that does.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Customer {
    name: String,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = customer.nmae)]
struct OrderPaid {
    customer: Customer,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
