//! A database for one test.

use super::admin::Admin;
use super::url::{server_url, with_database, without_password};
use super::{Error, leftovers, template};
use crate::store::Target;
use std::time::Duration;
use std::{fmt, io, thread};
use tokio_postgres::error::SqlState;

/// The number of attempts to copy. In each, the server waits 5 s for the last connection to the template to end.
const COPY_ATTEMPTS: usize = 6;

/// The longest time that a drop may delay the end of a test.
const DROP_DEADLINE: Duration = Duration::from_secs(10);

/// A database for one test, dropped with this value.
///
/// After a panic of the test it is kept for inspection, and its URL is printed.
///
/// All functions need a Tokio runtime with I/O and time enabled, such as that of actix.
///
/// # Examples
/// ```no_run
/// use pubsub::testing::Database;
///
/// # async fn test() -> Result<(), pubsub::testing::Error> {
/// let database = Database::create().await?;
/// println!("psql {}", database.url());
/// # Ok(())
/// # }
/// ```
pub struct Database {
    name: String,
    target: Target,
    server: Target,
}

impl Database {
    /// Creates a database with the schema of this crate, on the server of [`server_url`].
    ///
    /// # Errors
    /// When there is no server, or it refuses to create databases.
    pub async fn create() -> Result<Self, Error> {
        Self::create_on(server_url().await?).await
    }

    /// Creates an empty database, on the server of [`server_url`].
    ///
    /// # Errors
    /// As [`Database::create`].
    pub async fn empty() -> Result<Self, Error> {
        Self::empty_on(server_url().await?).await
    }

    /// Creates a database with the schema of this crate, on this server, such as that of [`Server::url`](super::Server::url).
    ///
    /// # Errors
    /// As [`Database::create`].
    pub async fn create_on(server: impl TryInto<Target, Error: Into<crate::Error>>) -> Result<Self, Error> {
        let server = read(server)?;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let template = template::prepare(&server).await?;
            match Self::copy(&server, &template).await {
                Err(error) if attempts < COPY_ATTEMPTS && is_transient(&error) => {
                    tracing::debug!(%error, template, "copying the template database again");
                    template::forget(&server).await;
                }
                copied => return copied,
            }
        }
    }

    /// Creates an empty database, on this server.
    ///
    /// # Errors
    /// As [`Database::create`].
    pub async fn empty_on(server: impl TryInto<Target, Error: Into<crate::Error>>) -> Result<Self, Error> {
        // `template1` may have connections or contents of its own.
        Self::copy(&read(server)?, "template0").await
    }

    /// The database's URL.
    pub fn url(&self) -> &str {
        self.target.text()
    }

    /// The connection target: the database's URL, with the password provider and the configuration of TLS of its server.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn copy(server: &Target, template: &str) -> Result<Self, Error> {
        let name = leftovers::new_name();
        let admin = Admin::connect(server).await?;
        let copied = copy(&admin, &name, template).await;
        admin.close().await;
        copied?;
        Ok(Self { target: with_database(server, &name), name, server: server.clone() })
    }

    async fn drop_now(server: &Target, name: &str) -> Result<(), Error> {
        let admin = Admin::connect(server).await?;
        // With force, because the test's own connections may be open, and their runtime waits for this.
        let sql = format!("drop database if exists {name} with (force)");
        let dropped = admin.run("drop the database", &sql).await;
        admin.close().await;
        dropped
    }
}

/// Without the URLs, which may have a password.
impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "the test's database is kept: {} (a server of this process ends with it; to inspect the database later, set \
                 DATABASE_URL to another server)",
                without_password(self.url())
            );
            return;
        }
        let (server, name) = (self.server.clone(), self.name.clone());
        // On a thread of its own, because a running runtime cannot be blocked here.
        let dropped = thread::Builder::new().name("pubsub-testing-drop".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                match tokio::time::timeout(DROP_DEADLINE, Self::drop_now(&server, &name)).await {
                    Ok(dropped) => dropped.map_err(io::Error::other),
                    Err(late) => Err(late.into()),
                }
            })
        });
        let outcome = dropped.map(thread::JoinHandle::join);
        if let Err(error) | Ok(Ok(Err(error))) = outcome {
            // The test does not fail, because its server may have been stopped on purpose.
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                name = self.name,
                "a test's database is left"
            );
        }
    }
}

fn read(server: impl TryInto<Target, Error: Into<crate::Error>>) -> Result<Target, Error> {
    server.try_into().map_err(|error| Error::Connect(error.into()))
}

async fn copy(admin: &Admin, name: &str, template: &str) -> Result<(), Error> {
    // Since PostgreSQL 15 a copy is written to the log, which saves a busy server two checkpoints. Without fsync a
    // checkpoint is cheap, and copying the files takes a third of the time.
    let strategy = "select case \
                             when current_setting('fsync')::bool \
                             or current_setting('server_version_num')::int < 150000 then '' \
                             else 'strategy file_copy' \
                           end";
    let strategy = admin.texts("ask for the server's settings", strategy).await?.concat();
    admin.run("create a database", &format!("create database {name} template {template} {strategy}")).await
}

/// Whether another attempt to copy may succeed: the template has a connection, or was dropped.
fn is_transient(error: &Error) -> bool {
    error.code().is_some_and(|code| [SqlState::OBJECT_IN_USE, SqlState::UNDEFINED_DATABASE].contains(code))
}
