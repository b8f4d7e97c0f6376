//! An index beyond the fields of a tuple struct.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid", key = 1)]
struct OrderPaid(i64);

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid>();
}
