//! Refuses servers and databases that are not supported, before anything is written to them.

use super::connect::Connection;
use crate::error::Error;
use crate::policy::support::{ENCODING, NEWEST, OLDEST, Support, of_version};
use std::sync::Once;

/// Checks what the server said about itself when the connection was opened. A pooler that leaves it out is believed.
pub(super) fn check(connection: &Connection) -> Result<(), Error> {
    if let Some(version) = connection.parameter("server_version") {
        match of_version(version) {
            Support::Tested => {}
            Support::TooOld => {
                return Err(Error::ServerTooOld { found: version.to_owned(), oldest: OLDEST });
            }
            Support::Untested => warn(version),
        }
    }
    match connection.parameter("server_encoding") {
        Some(encoding) if encoding != ENCODING => {
            Err(Error::UnsupportedEncoding { found: encoding.to_owned() })
        }
        _ => Ok(()),
    }
}

/// Warns about an untested version, once in this process.
fn warn(version: &str) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            version,
            "pubsub is tested on PostgreSQL {OLDEST} to {NEWEST}, and not on this version"
        );
    });
}
