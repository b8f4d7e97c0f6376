//! Two generic payload types with one name.

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
