//! An error and its causes on one line.

use std::fmt::Write;
use tokio_postgres::error::DbError;

/// The most errors of a chain that are shown. A chain may be endless.
const MOST_CAUSES: usize = 32;

/// Returns an error and its causes on one line, for logs and for the stored error text of a delivery.
///
/// An error of PostgreSQL contributes only its message and SQLSTATE, because its DETAIL quotes values of rows. The text of an
/// error that cannot write itself is a placeholder.
pub(crate) fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let text = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref::<DbError>() {
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => {
            let mut text = String::new();
            // Not `to_string`, which panics if the error refuses to be written.
            if write!(text, "{error}").is_ok() {
                text
            } else {
                "(an error whose text cannot be written)".to_owned()
            }
        }
    };
    let links: Vec<String> =
        std::iter::successors(Some(error), |error| error.source()).take(MOST_CAUSES).map(text).collect();
    links.join(": ")
}
