//! The event that is measured.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

/// An event of about a hundred bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("bench")]
pub(crate) struct Order {
    order: u64,
    amount: f64,
    note: String,
}

impl Order {
    pub(crate) fn new(order: u64) -> Self {
        Self {
            order,
            amount: 9.99,
            note: "a note about as long as an average one, and not longer than that".into(),
        }
    }
}
