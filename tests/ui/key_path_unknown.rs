//! The first field is there, the one inside of it is not.

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
