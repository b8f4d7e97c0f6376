//! Two payload types with parameters on one channel, which have no instance to show.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Channel)]
#[channel("envelope")]
struct Envelope<T> {
    content: T,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("envelope")]
struct Parcel<const N: usize> {
    weight: usize,
}

fn main() {}
