//! Where the log lives: what a restore, an upgrade or a failover has done to it (`migrations/functions/restore.sql`).

use super::Target;
use super::pulse::Pulse;
use crate::error::{Error, from_database};
use std::time::Duration;
use tokio_postgres::{Client, Row};

const RECOGNIZE: &str = "select r.life, r.news from pubsub.recognize() r";

const REBASE: &str = "select pubsub.rebase()";

/// Rebasing looks through what no subscription has read yet.
const DEADLINE: Duration = Duration::from_secs(300);

/// What the server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recognized {
    /// The life that it is in. When another has begun, what was committed at the end of the last one may be gone.
    pub(crate) life: i64,
    /// What has happened to it, if this process is the first to see it.
    pub(crate) news: Option<String>,
}

/// Sets the subscriptions right after the database was restored from a dump into another cluster.
///
/// Such a database is refused with [`Error::Moved`] by [`Builder::start`](crate::Builder::start), and by the claims of
/// processes that run, unless the library can tell by itself where each subscription was. Afterwards every event is
/// delivered that had not been claimed when the dump was made, and all that was published since. A few that had been claimed
/// shortly before may be delivered again. Publishers wait while it runs.
///
/// Returns how many positions were set. Only the schema's owner may do it.
///
/// # Errors
/// The database's own: a publisher whose transaction stays open keeps it from beginning, and after 10 s it gives up.
///
/// # Cancel safety
/// Dropping the future ends the connection; whether the database was rebased is unknown. It is safe to repeat.
pub async fn rebase(database_url: &str) -> Result<u64, Error> {
    const DOING: &str = "rebase";
    let target = Target::parse(database_url)?;
    let positions: i64 = target
        .alone(DOING, async |client| client.query_one(REBASE, &[]).await.and_then(|row| row.try_get(0)))
        .await?;
    Ok(positions.unsigned_abs())
}

impl Target {
    /// Looks where the log lives, and rebases it if that is exact.
    pub(crate) async fn recognize(&self) -> Result<Recognized, Error> {
        self.alone(DOING, async |client| {
            client.query_one(RECOGNIZE, &[]).await.and_then(|row| recognized(&row))
        })
        .await
    }

    /// Does one thing on a connection of its own.
    pub(super) async fn alone<T>(
        &self,
        doing: &'static str,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        let working = async {
            let (client, connection) = self.connect().await?;
            let driver = tokio::spawn(connection);
            let done = work(&client).await;
            drop(client);
            driver.abort();
            done.map_err(|source| from_database(doing, source))
        };
        tokio::time::timeout(DEADLINE, working)
            .await
            .unwrap_or(Err(Error::Timeout { doing, after: DEADLINE }))
    }
}

impl Pulse {
    /// Looks where the log lives, and rebases it if that is exact.
    pub(crate) async fn recognize(&self) -> Result<Recognized, Error> {
        self.ask(DOING, RECOGNIZE, &[], recognized).await
    }
}

const DOING: &str = "recognize the database";

fn recognized(row: &Row) -> Result<Recognized, tokio_postgres::Error> {
    Ok(Recognized { life: row.try_get(0)?, news: row.try_get(1)? })
}
