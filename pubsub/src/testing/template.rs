//! The migrated database that all others are copied from: copying takes a fraction of migrating.
//!
//! One per server and per set of migrations. Test processes that share a server share it too.

use super::admin::Admin;
use super::url::with_database;
use super::{Error, leftovers};
use std::collections::BTreeSet;
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;

/// What the names of templates start with.
const PREFIX: &str = "pubsub_template_";

/// The advisory lock held while the template is made ("pubsub.t" in ASCII; the migrations have their own).
const LOCK: i64 = 0x7075_6273_7562_2e74;

/// Servers, by URL, whose template this process has seen to.
static READY: Mutex<BTreeSet<String>> = Mutex::const_new(BTreeSet::new());

/// Makes sure that the server has an up-to-date template, and returns its name.
pub(super) async fn prepare(server: &str) -> Result<String, Error> {
    let name = name();
    let mut ready = READY.lock().await;
    if !ready.contains(server) {
        let admin = Admin::connect(server).await?;
        let prepared = prepare_locked(&admin, server, &name).await;
        admin.close().await; // and with it the lock
        prepared?;
        ready.insert(server.to_owned());
    }
    Ok(name)
}

/// After the template was found missing: the next [`prepare`] looks again.
pub(super) async fn forget(server: &str) {
    READY.lock().await.remove(server);
}

async fn prepare_locked(admin: &Admin, server: &str, name: &str) -> Result<(), Error> {
    admin.run("lock the template database", &format!("select pg_advisory_lock({LOCK})")).await?;
    if create(admin, name).await? {
        drop_others(admin, name).await?;
    }
    leftovers::sweep(admin).await?;
    // Also if it exists: its maker may have been killed between two migrations.
    crate::migrate(&with_database(server, name)).await.map_err(Error::Migrate)
}

/// Whether it was not there before.
async fn create(admin: &Admin, name: &str) -> Result<bool, Error> {
    // From template0, because nobody can be connected to it.
    match admin
        .run("create the template database", &format!("create database {name} template template0"))
        .await
    {
        Err(error) if error.code() == Some(&SqlState::DUPLICATE_DATABASE) => Ok(false),
        created => created.map(|()| true),
    }
}

/// Drops the templates of other versions. A process that still uses one makes it again.
async fn drop_others(admin: &Admin, name: &str) -> Result<(), Error> {
    let sql = format!(
        "select datname::text \
           from pg_catalog.pg_database \
          where starts_with(datname, '{PREFIX}') \
            and datname <> '{name}'"
    );
    for other in admin.texts("look for old template databases", &sql).await? {
        // Without force: somebody may be migrating it.
        if let Err(error) =
            admin.run("drop an old template database", &format!("drop database {other}")).await
        {
            tracing::debug!(%error, name = other, "an old template database is left");
        }
    }
    Ok(())
}

/// One name per set of migrations, so that the template of edited ones is never taken for the new one.
fn name() -> String {
    format!("{PREFIX}{}", crate::store::migrate::fingerprint())
}
