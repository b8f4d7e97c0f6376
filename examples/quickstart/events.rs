//! The payloads: one type for each channel.

use jiff::Timestamp;
use pubsub::Channel;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A text message to a customer's phone.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("sms", max_attempts = 4, backoff(initial = "150ms", factor = 2.0, max = "2s", jitter = 0.2))]
pub(crate) struct Sms {
    pub(crate) msg: String,
}

/// An e-mail to a customer.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("email", max_attempts = 4, backoff(initial = "150ms", factor = 2.0, max = "2s", jitter = 0.2))]
pub(crate) struct Email {
    pub(crate) email_type: EmailType,
    pub(crate) receiver: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum EmailType {
    PurchaseOrder,
    ClientWelcome,
}

/// A line in the team's chat.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("instant_messaging", max_attempts = 4, backoff(initial = "150ms", max = "2s"))]
pub(crate) struct InstantMessage {
    pub(crate) msg: String,
}

/// A meeting to put into everybody's calendar.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("scheduling", max_attempts = 4, backoff(initial = "150ms", max = "2s"))]
pub(crate) struct Scheduling {
    pub(crate) start: Timestamp,
    pub(crate) end: Timestamp,
}

impl fmt::Display for EmailType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PurchaseOrder => "purchase order",
            Self::ClientWelcome => "client welcome",
        })
    }
}
