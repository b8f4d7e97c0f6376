//! A mistake in the attribute, one in the template and one on a field.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = id, ordered, dedupe = "{order}:{customr}")]
struct OrderPaid {
    order_id: i64,
    #[channel(hide)]
    customer: String,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
