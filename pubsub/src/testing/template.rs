//! The migrated database from which all others are copied, because copying takes a fraction of the time of migrating.
//!
//! There is one for each server and set of migrations, shared by all test processes on that server.

use super::admin::Admin;
use super::url::with_database;
use super::{Error, leftovers};
use crate::store::Target;
use std::collections::BTreeSet;
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;

/// The prefix of the names of templates.
const PREFIX: &str = "pubsub_template_";

/// The advisory lock that is held while the template is created ("pubsub.t" in ASCII). The migrations have their own.
const LOCK: i64 = 0x7075_6273_7562_2e74;

/// The servers, by URL, whose template this process has prepared.
static READY: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());

/// Makes sure that the server has a current template, and returns its name.
pub(super) async fn prepare(server: &Target) -> Result<String, Error> {
    let name = name();
    let mut ready = READY.lock().await;
    if !ready.contains(server.text()) {
        let admin = Admin::connect(server).await?;
        let prepared = prepare_locked(&admin, server, &name).await;
        admin.close().await; // and with it the lock
        prepared?;
        ready.insert(server.text().to_owned());
    }
    Ok(name)
}

/// Makes the next [`prepare`] check again, after the template was found missing.
pub(super) async fn forget(server: &Target) {
    READY.lock().await.remove(server.text());
}

async fn prepare_locked(admin: &Admin, server: &Target, name: &str) -> Result<(), Error> {
    admin.run("lock the template database", &format!("select pg_advisory_lock({LOCK})")).await?;
    if create(admin, name).await? {
        drop_others(admin, name).await?;
    }
    leftovers::sweep(admin).await?;
    // Also for an existing template, whose creator may have been killed between two migrations.
    crate::migrate(with_database(server, name)).await.map_err(Error::Migrate)
}

/// Creates the database. Returns whether it did not exist.
async fn create(admin: &Admin, name: &str) -> Result<bool, Error> {
    // `template0` never has a connection.
    match admin
        .run("create the template database", &format!("create database {name} template template0"))
        .await
    {
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_DATABASE) => Ok(false),
        created => created.map(|()| true),
    }
}

/// Drops the templates of other versions. A process that still uses one creates it again.
async fn drop_others(admin: &Admin, name: &str) -> Result<(), Error> {
    let sql = format!(
        "select datname::text \
           from pg_catalog.pg_database \
          where starts_with(datname, '{PREFIX}') \
            and datname <> '{name}'"
    );
    for other in admin.texts("list old template databases", &sql).await? {
        // Without force, because another process may be migrating it.
        if let Err(error) =
            admin.run("drop an old template database", &format!("drop database {other}")).await
        {
            tracing::debug!(%error, name = other, "an old template database is left");
        }
    }
    Ok(())
}

/// Returns one name for each set of migrations, so that a template of other migrations is never used.
fn name() -> String {
    format!("{PREFIX}{}", crate::store::migrate::fingerprint())
}
