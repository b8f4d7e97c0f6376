//! A type parameter that is not a payload.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

struct NoPayload;

#[derive(Serialize, Deserialize, Channel)]
#[channel("envelope")]
struct Envelope<T> {
    content: T,
}

fn is_channel<C: Channel>() {}

fn main() {
    is_channel::<Envelope<NoPayload>>();
}
