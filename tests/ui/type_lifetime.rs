//! A lifetime in an enum that serde can read, but only as long as its input lives.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.paid")]
enum OrderPaid<'a> {
    ByCard {
        #[serde(borrow)]
        card: std::borrow::Cow<'a, str>,
    },
    InCash,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<OrderPaid<'static>>();
}
