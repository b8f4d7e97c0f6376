//! Attempts to connect to the servers of a target, and the error that tells of all of them.

use crate::error::{Error, error_chain};
use std::io;
use std::time::Duration;

/// The most servers of an error that are shown with their reasons. A name may have dozens of addresses.
const MOST_SERVERS: usize = 8;

/// The attempts that have failed, in their order.
#[derive(Debug, Default)]
pub(super) struct Attempts(Vec<Attempt>);

#[derive(Debug)]
struct Attempt {
    server: String,
    error: Error,
    /// Whether the server has said nothing. Others tell more about what is wrong.
    is_silent: bool,
}

/// Returns the error of one server to which there is no connection.
pub(super) fn unconnected(
    server: String,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    Error::Connect { servers: server, source: source.into() }
}

impl Attempts {
    pub(super) fn failed(&mut self, server: String, error: Error) {
        self.0.push(Attempt { server, error, is_silent: false });
    }

    /// Notes a server that has not answered in time.
    pub(super) fn was_silent(&mut self, server: String, after: Duration) {
        let reason = if after.is_zero() {
            "no time was left for it".to_owned()
        } else {
            format!("no answer within {:.1} s", after.as_secs_f64())
        };
        let error = unconnected(server.clone(), io::Error::new(io::ErrorKind::TimedOut, reason));
        self.0.push(Attempt { server, error, is_silent: true });
    }

    /// Returns the error of the last server that has answered, or else of the last one, with those of the others in its text.
    pub(super) fn into_error(mut self) -> Error {
        let telling = self.0.iter().rposition(|attempt| !attempt.is_silent);
        let telling = telling.unwrap_or(self.0.len().saturating_sub(1));
        let told = self.0.remove(telling);
        let others = self.0.iter().map(Attempt::shown).take(MOST_SERVERS).collect::<Vec<_>>().join(", ");
        let more = match self.0.len().saturating_sub(MOST_SERVERS) {
            0 => String::new(),
            more => format!(", {more} others"),
        };
        match told.error {
            error if others.is_empty() => error,
            Error::Connect { servers, source } => {
                Error::Connect { servers: format!("{others}{more} or {servers}"), source }
            }
            Error::Tls { message, source } => {
                let message = format!("{message}. There is no connection to {others}{more} either");
                Error::Tls { message, source }
            }
            error => error,
        }
    }
}

impl Attempt {
    fn shown(&self) -> String {
        let reason = match &self.error {
            Error::Connect { source, .. } => error_chain(&**source),
            error => error.to_string(),
        };
        format!("{} ({reason})", self.server)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(server: &str) -> Error {
        unconnected(server.to_owned(), io::Error::from(io::ErrorKind::ConnectionRefused))
    }

    fn tried(count: usize) -> Attempts {
        let mut attempts = Attempts::default();
        for server in (0..count).map(|n| format!("`{n}`")) {
            attempts.failed(server.clone(), refused(&server));
        }
        attempts
    }

    #[test]
    fn an_error_of_connecting_tells_of_each_server() {
        assert_eq!(format!("{:?}", tried(1).into_error()), "cannot connect to `0`: connection refused");
        let mut three = tried(2);
        three.was_silent("`2`".to_owned(), Duration::from_secs(3));
        assert_eq!(
            format!("{:?}", three.into_error()),
            "cannot connect to `0` (connection refused), `2` (no answer within 3.0 s) or `1`: connection refused"
        );
        let many = tried(12).into_error().to_string();
        assert!(many.contains("`7` (connection refused), 3 others or `11`"), "{many}");
    }

    #[test]
    fn an_error_of_tls_tells_of_the_other_servers() {
        let mut attempts = tried(1);
        let message = "`1` answers without TLS".to_owned();
        attempts.failed("`1`".to_owned(), Error::Tls { message, source: "plain".into() });
        attempts.was_silent("`2`".to_owned(), Duration::ZERO);
        assert_eq!(
            attempts.into_error().to_string(),
            "`1` answers without TLS. There is no connection to `0` (connection refused), `2` (no time was left for it) either"
        );
    }

    #[test]
    fn a_server_that_is_away_may_come_back() {
        let mut silent = Attempts::default();
        silent.was_silent("`0`".to_owned(), Duration::from_secs(9));
        for error in [silent.into_error(), tried(2).into_error()] {
            assert_eq!((error.code(), error.is_retryable()), ("connect", true), "{error:?}");
        }
    }
}
