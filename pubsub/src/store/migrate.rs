//! Installing and updating the `pubsub` schema.

mod functions;

use super::Target;
use crate::error::Error;
#[cfg(feature = "testing")]
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;
use tokio_postgres::Client;

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Where refinery remembers what it has run.
const HISTORY: &str = "pubsub.schema_history";

/// Key of the advisory lock under which migrations run ('pubsub' as ASCII).
const LOCK: i64 = 0x7075_6273_7562;

/// Longest wait for other processes to finish migrating, and then for our own migrations.
const DEADLINE: Duration = Duration::from_secs(300);

/// Installs the `pubsub` schema, or brings it up to date.
///
/// Any number of processes may call it at once: one migrates, the others wait for it. When there is nothing to do it
/// takes a few milliseconds. Each change of the tables is a transaction, and so is the installation of the functions.
///
/// # Errors
/// [`Error::SchemaTooNew`] if the schema is newer than this library knows; then nothing is changed. [`Error::Migration`] if
/// a migration fails, or the wait for another process lasts longer than five minutes.
///
/// # Cancel safety
/// Dropping the future ends the connection, and with it the lock and the migration that was running.
pub async fn migrate(database_url: &str) -> Result<(), Error> {
    let target = Target::parse(database_url)?;
    tokio::time::timeout(DEADLINE, async {
        let (mut client, connection) = target.connect().await?;
        let driver = tokio::spawn(connection);
        let result = migrate_locked(&mut client).await;
        drop(client);
        driver.abort();
        result
    })
    .await
    .unwrap_or(Err(Error::Timeout { doing: "migrate", after: DEADLINE }))
}

async fn migrate_locked(client: &mut Client) -> Result<(), Error> {
    let doing = "migrate";
    let database = |source| Error::Database { doing, source };
    // Held by the session, over the transactions of all migrations; the session's end releases it.
    client.execute("select pg_advisory_lock($1)", &[&LOCK]).await.map_err(database)?;
    let known = newest_known();
    if let Some(found) = installed_version(client).await?
        && found > known
    {
        return Err(Error::SchemaTooNew { found, known });
    }
    client.batch_execute("create schema if not exists pubsub").await.map_err(database)?;
    // Also if the version is ours already: refinery then compares what was run with what we have.
    let mut runner = embedded::migrations::runner();
    runner.set_migration_table_name(HISTORY);
    runner.run_async(client).await.map_err(|error| Error::Migration(Box::new(error)))?;
    functions::install(client).await
}

/// The version of the newest migration that this library has.
pub(crate) fn newest_known() -> i32 {
    embedded::migrations::runner()
        .get_migrations()
        .iter()
        .map(refinery::Migration::version)
        .max()
        .unwrap_or(0)
}

/// A number that changes with any of the migrations and functions.
#[cfg(feature = "testing")]
pub(crate) fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    for migration in embedded::migrations::runner().get_migrations() {
        migration.checksum().hash(&mut hasher);
    }
    functions::checksum().hash(&mut hasher);
    hasher.finish()
}

/// The schema's version, or `None` if it is not installed.
async fn installed_version(client: &Client) -> Result<Option<i32>, Error> {
    let database = |source| Error::Database { doing: "read the schema's version", source };
    let installed: bool =
        client.query_one("select to_regclass($1) is not null", &[&HISTORY]).await.map_err(database)?.get(0);
    if !installed {
        return Ok(None);
    }
    let sql = format!("select max(version)::integer from {HISTORY}");
    Ok(client.query_one(&sql, &[]).await.map_err(database)?.get(0))
}

impl Target {
    /// Refuses a schema that this library cannot work with.
    pub(crate) async fn check_schema(&self, deadline: Duration) -> Result<(), Error> {
        let check = async {
            let (client, connection) = self.connect().await?;
            let driver = tokio::spawn(connection);
            let found = installed_version(&client).await;
            driver.abort();
            let needed = newest_known();
            match found? {
                None => Err(Error::SchemaMissing),
                Some(found) if found < needed => Err(Error::SchemaTooOld { found, needed }),
                Some(found) if found > needed => Err(Error::SchemaTooNew { found, known: needed }),
                Some(_) => Ok(()),
            }
        };
        tokio::time::timeout(deadline, check)
            .await
            .unwrap_or(Err(Error::Timeout { doing: "read the schema's version", after: deadline }))
    }
}
