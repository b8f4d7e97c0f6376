//! Changing the schema: one transaction for the tables and the functions.

use super::functions::{self, checksum};
use super::tables::{MIGRATIONS, Migration, newest};
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Transaction};

/// The longest wait for one lock. Other transactions queue behind a waiting migration, so the wait is short. It is shorter
/// than PostgreSQL's `deadlock_timeout`, so that the migration yields in a deadlock and not a publisher.
const LOCK_TIMEOUT: Duration = Duration::from_millis(300);

/// The pause after a lock was not free.
const PAUSE: Duration = Duration::from_secs(1);

/// The history of the schema: one row per version.
const HISTORY: &str = "
    create table if not exists pubsub.schema_history (
        version         integer not null,
        name            text not null,
        checksum        text not null,
        functions       text not null,
        compatible_from integer not null,
        installed_at    timestamptz not null default clock_timestamp(),
        constraint schema_history_pkey primary key (version)
    )";

/// Brings tables and functions up to date. Tries again for as long as a lock is not free.
pub(super) async fn install(client: &mut Client, installed: usize) -> Result<(), Error> {
    while let Err(error) = try_install(client, &MIGRATIONS[installed..]).await {
        if !is_lock_unavailable(&error) {
            return Err(error);
        }
        tracing::info!("the pubsub schema is in use: migrating again in {PAUSE:?}");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn try_install(client: &mut Client, missing: &[Migration]) -> Result<(), Error> {
    let transaction = begin(client).await?;
    for migration in missing {
        transaction.batch_execute(migration.sql).await?;
    }
    transaction.batch_execute(HISTORY).await?;
    for file in functions::SOURCE {
        transaction.batch_execute(file).await?;
    }
    for Migration { version, name, compatible_from, sql } in missing {
        let record = "insert into pubsub.schema_history (version, name, checksum, functions, compatible_from) \
                      values ($1, $2, $3, '', $4)";
        transaction.execute(record, &[version, name, &checksum([*sql]), compatible_from]).await?;
    }
    let record = "update pubsub.schema_history \
                     set functions = $2, installed_at = clock_timestamp() \
                   where version = $1";
    transaction.execute(record, &[&newest().version, &functions::fingerprint()]).await?;
    transaction.commit().await
}

/// Begins a transaction that waits only briefly for locks, and that finds only functions of PostgreSQL and of this schema.
async fn begin(client: &mut Client) -> Result<Transaction<'_>, Error> {
    let transaction = client.transaction().await?;
    let settings = format!(
        "set local lock_timeout = {}; set local search_path = pg_catalog, pg_temp",
        LOCK_TIMEOUT.as_millis()
    );
    transaction.batch_execute(&settings).await?;
    Ok(transaction)
}

/// Whether another transaction held a lock for too long.
fn is_lock_unavailable(error: &Error) -> bool {
    let unavailable = [SqlState::LOCK_NOT_AVAILABLE, SqlState::T_R_DEADLOCK_DETECTED];
    error.code().is_some_and(|code| unavailable.contains(code))
}
