//! Decides whether a call that failed may succeed later.

use super::is_of_class;

/// The SQLSTATEs, or their classes, after which the same statement may succeed later.
///
/// Connections (08), serialization failures and deadlocks (40), insufficient resources (53), an operator's or a timeout's
/// intervention (57), locks that are held (55P03), and a server that is read-only during a failover (25006).
const RETRYABLE: &[&str] = &["08", "40", "53", "57", "55P03", "25006"];

/// Whether a call with this error may succeed later.
pub(super) fn passes(sqlstate: Option<&str>, source: &(dyn std::error::Error + 'static)) -> bool {
    match sqlstate {
        Some(state) => is_of_class(state, RETRYABLE),
        // Without an answer of the server, the connection has failed or a value could not be sent or read.
        None => is_of_connection(source),
    }
}

/// Whether an error that does not come from the server comes from the connection.
fn is_of_connection(error: &(dyn std::error::Error + 'static)) -> bool {
    let is_closed =
        error.downcast_ref::<tokio_postgres::Error>().is_some_and(tokio_postgres::Error::is_closed);
    let is_of_system = <dyn std::error::Error>::is::<std::io::Error>;
    is_closed || is_of_system(error) || error.source().is_some_and(is_of_system)
}
