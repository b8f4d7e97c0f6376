//! Functions with a broken piece, for tests that must fail.

use tokio_postgres::Client;

/// Replaces pieces of a function's text in this client's database. Fails if a piece is missing, because a variant that
/// breaks nothing would prove nothing.
pub async fn break_function(client: &Client, function: &str, pieces: &[(&str, &str)]) -> Result<(), String> {
    let describe = |error: tokio_postgres::Error| format!("{function}: {error:?}");
    let sound = "select pg_get_functiondef($1::text::regprocedure)";
    let mut broken: String = client.query_one(sound, &[&function]).await.map_err(describe)?.get(0);
    for (piece, replacement) in pieces {
        if !broken.contains(piece) {
            return Err(format!("{function} does not contain {piece:?}: adapt the broken variant"));
        }
        broken = broken.replace(piece, replacement);
    }
    client.batch_execute(&broken).await.map_err(describe)
}
