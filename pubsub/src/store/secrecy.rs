//! Keeps redacted payloads out of logs and errors.

use crate::error::{Error, PayloadError, is_of_class};
use crate::model::channel::Channel;

/// Whether a channel has redacted fields. Its payloads must then appear in no log and in no error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Secrecy {
    channel: &'static str,
    is_wanted: bool,
}

impl Secrecy {
    pub(crate) fn of<C: Channel>() -> Self {
        Self { channel: C::NAME, is_wanted: !C::REDACTED.is_empty() }
    }

    /// Removes the database's message from an error that may quote a redacted value.
    pub(crate) fn keep(self, error: Error) -> Error {
        match error {
            // Class 22 is about values, and 23 about rows that break a constraint.
            Error::Database { sqlstate: Some(sqlstate), .. }
                if self.is_wanted && is_of_class(&sqlstate, &["22", "23"]) =>
            {
                Error::InvalidPayload { channel: self.channel, source: PayloadError::Refused { sqlstate } }
            }
            // A driver that keeps the code to itself may have been told anything but that the connection broke.
            Error::Database { sqlstate: None, .. } if self.is_wanted && !error.is_retryable() => {
                let source = PayloadError::Refused { sqlstate: "unknown".to_owned() };
                Error::InvalidPayload { channel: self.channel, source }
            }
            error => error,
        }
    }
}
