//! Recognizing restores, upgrades and failovers of the log (`migrations/functions/restore.sql`).

use super::Target;
use super::connect::Driver;
use super::heartbeat_session::HeartbeatSession;
use crate::error::{Error, from_database};
use std::time::Duration;
use tokio_postgres::{Client, Row};

const RECOGNIZE: &str = "select r.incarnation, r.news from pubsub.recognize() r";

const REBASE: &str = "select pubsub.rebase()";

/// The longest time for a rebase, which reads all events that subscriptions have not read yet.
const DEADLINE: Duration = Duration::from_secs(300);

/// The state in which the server was recognized.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recognized {
    /// The server's incarnation. In a new incarnation, the last commits of the previous one may be lost.
    pub(crate) incarnation: i64,
    /// A description of what has happened to the server, if this process is the first to see it.
    pub(crate) news: Option<String>,
}

/// Corrects the positions of subscriptions after the database was restored from a dump into another cluster.
///
/// [`Builder::start`](crate::Builder::start), and the claims of running processes, refuse such a database with
/// [`Error::Moved`], unless the library can tell by itself where each subscription was. After a rebase, every event is
/// delivered that had not been claimed when the dump was made, and every event that was published since. A few that were
/// claimed shortly before the dump may be delivered again. Publishers wait while it runs.
///
/// Returns how many positions were set. Only the schema's owner may call it.
///
/// # Errors
/// The database's own errors. It gives up after 10 s if a publisher's transaction stays open that long.
///
/// # Cancel safety
/// Dropping the future ends the connection, and leaves unknown whether the database was rebased. A second call is safe.
pub async fn rebase(target: impl TryInto<Target, Error: Into<Error>>) -> Result<u64, Error> {
    const DOING: &str = "rebase";
    let target = target.try_into().map_err(Into::into)?;
    let positions: i64 = target
        .alone(DOING, async |client| client.query_one(REBASE, &[]).await.and_then(|row| row.try_get(0)))
        .await?;
    Ok(positions.unsigned_abs())
}

impl Target {
    /// Recognizes the log, and rebases it if that is exact.
    pub(crate) async fn recognize(&self) -> Result<Recognized, Error> {
        self.alone(DOING, async |client| {
            client.query_one(RECOGNIZE, &[]).await.and_then(|row| recognized(&row))
        })
        .await
    }

    /// Runs `work` on a connection of its own.
    pub(super) async fn alone<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let working = async {
            let (client, connection) = self.connect_for(DEADLINE).await?;
            let _driver = Driver::start(connection);
            work(&client).await.map_err(|source| from_database(doing, source))
        };
        tokio::time::timeout(DEADLINE, working)
            .await
            .unwrap_or(Err(Error::Timeout { doing, after: DEADLINE }))
    }
}

impl HeartbeatSession {
    /// Recognizes the log, and rebases it if that is exact.
    pub(crate) async fn recognize(&self) -> Result<Recognized, Error> {
        self.ask(DOING, RECOGNIZE, &[], recognized).await
    }
}

const DOING: &str = "recognize the database";

fn recognized(row: &Row) -> Result<Recognized, tokio_postgres::Error> {
    Ok(Recognized { incarnation: row.try_get(0)?, news: row.try_get(1)? })
}
