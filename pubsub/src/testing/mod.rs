//! A throwaway PostgreSQL server, and a database of its own for every test.
//!
//! For tests and examples, this project's and yours. Never for data that matters: everything here is deleted when the
//! process ends, and [`Server`] lets in every user of this machine without a password.
//!
//! ```no_run
//! use pubsub::testing::Database;
//!
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! let database = Database::create().await?; // a fresh copy of the migrated schema
//! let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
//! # drop((client, connection));
//! # Ok(())
//! # } // dropped here, or kept for you to look at when the test panicked
//! ```
//!
//! [`Database::create`] uses the server named by the environment variable `DATABASE_URL`, whose role must be allowed
//! to create databases. Without it, it starts one server for the whole process from the PostgreSQL binaries of this
//! machine ([`Server::shared`]); nothing is downloaded. A test which stops or restarts the server starts its own with
//! [`Server::start`]. A runner with one process per test, such as `cargo nextest`, should set `DATABASE_URL`: it saves
//! a server per test.
//!
//! # Speed
//! A server starts in about a second. A database is a copy of some 300 small files, so its cost is the file system's:
//! from 20 ms to 100 ms on a slow disk. `TMPDIR=/dev/shm` puts the server into memory, if there is enough of it.
//!
//! # No orphans
//! A server stops, and its directory goes, when its value is dropped, and also when the process dies, whatever the
//! reason: a `sh` of a few lines waits for the end of a pipe that only our process holds, then stops the server and
//! deletes the directory.
//!
//! # Why not an existing crate
//! `pgtemp` needs `sudo` when it runs as root, looks for the binaries only on `PATH`, panics when they are missing, and
//! a killed process leaves its server and directory behind. `postgresql_embedded` downloads or bundles a server rather
//! than use the installed one, cannot run as root, and its daemon survives a killed process too.
//!
//! # Platforms
//! Unix: Linux and macOS.

mod account;
mod admin;
mod binaries;
mod cluster;
mod database;
mod directory;
mod error;
mod leftovers;
mod options;
mod process;
mod server;
mod template;
mod url;
mod watchdog;

pub use database::Database;
pub use error::Error;
pub use options::{Mode, Options};
pub use server::Server;
pub use url::server_url;

/// Makes one of pubsub's own actors in this process panic: `listener`, `dispatcher`, `scheduler`, `heartbeat` or
/// `janitor`. It is restarted; for tests that want to see it.
pub fn inject_panic(actor: &str) {
    crate::panics::inject_panic(actor);
}

/// Whether every [`inject_panic`] has hit its actor.
pub fn injected_panics_have_happened() -> bool {
    crate::panics::all_injected_panics_happened()
}
