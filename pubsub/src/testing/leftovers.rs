//! Databases that killed or panicked processes have left behind, recognized by their names.

use super::Error;
use super::admin::Admin;
use std::time::SystemTime;

/// The prefix of the names of our databases. The time of creation follows.
const PREFIX: &str = "pubsub_test_";

/// The age at which a leftover database is dropped.
const LEFTOVER_AGE: &str = "1 day";

/// Returns a name for a new database.
pub(super) fn new_name() -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    format!("{PREFIX}{now}_{:016x}", fastrand::u64(..))
}

/// Drops old databases that nobody is connected to.
pub(super) async fn sweep(admin: &Admin) -> Result<(), Error> {
    let sql = format!(
        "select datname::text \
           from pg_catalog.pg_database \
          where to_timestamp(substring(datname from '^{PREFIX}([0-9]+)_')::float8) < now() - interval '{LEFTOVER_AGE}'"
    );
    for name in admin.texts("list old test databases", &sql).await? {
        // Without force, so that a database that somebody is looking at stays. Another process may also be sweeping, or
        // own the database.
        if let Err(error) = admin.run("drop an old test database", &format!("drop database {name}")).await {
            tracing::debug!(%error, name, "an old test database is left");
        }
    }
    Ok(())
}
