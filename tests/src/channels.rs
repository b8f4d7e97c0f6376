//! The channels of most tests.

use pubsub::Channel;
use serde::{Deserialize, Serialize};

/// A text message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Channel)]
#[channel("sms", max_attempts = 4, backoff(initial = "20ms", factor = 2.0, max = "200ms", jitter = 0.2))]
pub struct Sms {
    /// The text.
    pub msg: String,
}

impl Sms {
    /// Returns a message with this text.
    pub fn new(msg: impl Into<String>) -> Self {
        Self { msg: msg.into() }
    }
}

/// A second channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Channel)]
#[channel("email", max_attempts = 2, backoff(initial = "20ms", max = "20ms"))]
pub struct Email {
    /// The address of the receiver.
    pub receiver: String,
}
