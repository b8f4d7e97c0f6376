//! An enum that borrows from its input.

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
