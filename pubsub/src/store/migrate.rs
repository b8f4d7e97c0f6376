//! Installing and updating the `pubsub` schema.

mod functions;
mod install;
mod tables;

use super::connect::Driver;
use super::{Target, support};
use crate::error::{Error, from_database};
use functions::checksum;
use std::time::Duration;
use tables::{MIGRATIONS, Migration, newest};
use tokio_postgres::{Client, Row};

/// Key of the advisory lock under which the schema is changed ('pubsub' as ASCII).
const LOCK: i64 = 0x7075_6273_7562;

/// The longest wait for other processes to finish migrating, and then for our own migration.
const DEADLINE: Duration = Duration::from_secs(300);

/// Installs the `pubsub` schema, or brings it up to date.
///
/// Any number of processes may call this function at once: one of them migrates, the others wait for it. When there is
/// nothing to do, it takes some 20 milliseconds. Everything that it changes is one transaction. Processes of the previous
/// release may keep running.
///
/// If the schema is newer than this library and works with it, nothing is changed.
///
/// # Errors
/// - [`Error::ServerTooOld`], [`Error::UnsupportedEncoding`]: the server is older than PostgreSQL 14, or the database's
///   encoding is not UTF8. Nothing is changed.
/// - [`Error::SchemaTooNew`]: the schema no longer works with this library. Nothing is changed.
/// - [`Error::Migration`]: the migration failed and was rolled back.
/// - [`Error::Timeout`]: other processes, or transactions that use the schema, were in the way for five minutes.
///
/// # Cancel safety
/// Dropping the future closes the connection. The server then releases the lock and rolls the migration back, unless it
/// has already committed.
pub async fn migrate(target: impl TryInto<Target, Error: Into<Error>>) -> Result<(), Error> {
    let target = target.try_into().map_err(Into::into)?;
    tokio::time::timeout(DEADLINE, async {
        let (mut client, connection) = target.connect_for(DEADLINE).await?;
        support::check(&connection)?;
        let _driver = Driver::start(connection);
        migrate_locked(&mut client).await
    })
    .await
    .unwrap_or(Err(Error::Timeout { doing: "migrate", after: DEADLINE }))
}

async fn migrate_locked(client: &mut Client) -> Result<(), Error> {
    // The session holds the lock over all of its transactions, and releases it when it ends.
    client
        .execute("select pg_advisory_lock($1)", &[&LOCK])
        .await
        .map_err(|source| from_database("migrate", source))?;
    let installed = history(client).await?;
    match installed.last() {
        Some(version) if version.number > newest().version => version.check(),
        Some(version) if is_current(&installed, version)? => Ok(()),
        _ => install::install(client, installed.len())
            .await
            .map_err(|source| Error::Migration(Box::new(source))),
    }
}

/// One version of the schema, as the database's history records it.
#[derive(Debug)]
struct Version {
    number: i32,
    /// The checksum of its migration.
    checksum: String,
    /// The checksum of the functions.
    functions: String,
    compatible_from: i32,
}

impl Version {
    /// Refuses a schema that this library cannot work with.
    fn check(&self) -> Result<(), Error> {
        let (found, known) = (self.number, newest().version);
        if found < known {
            Err(Error::SchemaTooOld { found, needed: known })
        } else if known < self.compatible_from {
            Err(Error::SchemaTooNew { found, compatible_from: self.compatible_from, known })
        } else {
            Ok(())
        }
    }
}

/// All versions of the schema, oldest first.
const VERSIONS: &str = "select h.version, h.checksum, h.functions, h.compatible_from \
                         from pubsub.schema_history h order by h.version";

/// Completes the sentence "the database failed to ..".
const READ_VERSION: &str = "read the schema's version";

/// Returns the history of the schema, oldest version first. It is empty if the schema is not installed.
async fn history(client: &Client) -> Result<Vec<Version>, Error> {
    let database = |source| from_database(READ_VERSION, source);
    let exists = "select to_regclass('pubsub.schema_history') is not null";
    if !client.query_one(exists, &[]).await.map_err(database)?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    Ok(client.query(VERSIONS, &[]).await.map_err(database)?.iter().map(version).collect())
}

fn version(row: &Row) -> Version {
    Version { number: row.get(0), checksum: row.get(1), functions: row.get(2), compatible_from: row.get(3) }
}

/// Refuses a database without a schema, and a schema that this library cannot work with.
fn check(history: &[Version]) -> Result<(), Error> {
    history.last().ok_or(Error::SchemaMissing)?.check()
}

/// Whether the schema has all that this library would install. Refuses a history that is not ours.
fn is_current(installed: &[Version], newest_installed: &Version) -> Result<bool, Error> {
    for (position, found) in installed.iter().enumerate() {
        let same = |ours: &Migration| ours.version == found.number && checksum([ours.sql]) == found.checksum;
        if !MIGRATIONS.get(position).is_some_and(same) {
            let number = found.number;
            let message = format!("version {number} was installed from another file than this library has");
            return Err(Error::Migration(message.into()));
        }
    }
    Ok(installed.len() == MIGRATIONS.len() && newest_installed.functions == functions::fingerprint())
}

/// Returns a number that changes with the source of the schema.
#[cfg(feature = "testing")]
pub(crate) fn fingerprint() -> String {
    checksum(MIGRATIONS.iter().map(|migration| migration.sql).chain(functions::SOURCE.iter().copied()))
}

impl Target {
    /// Refuses a server, a database or a schema that this library cannot work with.
    pub(crate) async fn check_schema(&self, deadline: Duration) -> Result<(), Error> {
        let check = async {
            let (client, connection) = self.connect_session().await?;
            support::check(&connection)?;
            let _driver = Driver::start(connection);
            check(&history(&client).await?)
        };
        tokio::time::timeout(deadline, check)
            .await
            .unwrap_or(Err(Error::Timeout { doing: READ_VERSION, after: deadline }))
    }
}

#[cfg(feature = "actix-web-4")]
impl super::Store {
    /// Refuses a schema that this library cannot work with, or not any more.
    pub(crate) async fn check_schema(&self) -> Result<(), Error> {
        use tokio_postgres::error::SqlState;
        let missing = [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME];
        let versions = match self.query(READ_VERSION, VERSIONS, &[]).await {
            Err(error) if missing.iter().any(|state| state.code() == error.code()) => Vec::new(),
            answer => answer?,
        };
        check(&versions.iter().map(version).collect::<Vec<_>>())
    }
}
