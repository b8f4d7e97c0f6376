//! Testing an application: its handlers, what it publishes, and the whole of it on a database of its own.
//!
//! - [`handle`] hands a delivery that the test has made ([`Delivery::of`](crate::Delivery::of)) to a handler, without a database.
//! - [`assert_published!`] looks into a transaction that publishes, before it commits.
//! - [`Harness`] runs an application, waits until everything is settled, and lets time pass.
//! - [`Database`] is a database for one test, and [`Server`] a throwaway PostgreSQL server.
//!
//! `examples/testing.rs` is a file of tests to copy, and `docs/testing.md` explains it.
//!
//! # Databases
//! They are for tests and examples, and never for data that matters: everything is deleted when the process ends, and [`Server`]
//! accepts every user of this machine without a password.
//!
//! ```no_run
//! use pubsub::testing::Database;
//!
//! # async fn test() -> Result<(), Box<dyn std::error::Error>> {
//! let database = Database::create().await?; // a fresh copy of the migrated schema
//! let (client, connection) = tokio_postgres::connect(database.url(), tokio_postgres::NoTls).await?;
//! # drop((client, connection));
//! # Ok(())
//! # } // dropped here, or kept for inspection after a panic
//! ```
//!
//! [`Database::create`] uses the server in the environment variable `DATABASE_URL`, whose role must be allowed to create
//! databases. Without the variable it starts one server for the whole process from the PostgreSQL binaries of this machine
//! ([`Server::shared`]). Nothing is downloaded. A test that stops or restarts its server starts one of its own with
//! [`Server::start`]. A test runner with one process per test, such as `cargo nextest`, should set `DATABASE_URL` to save a server
//! per test.
//!
//! # Speed
//! A server starts in about a second. A database is a copy of some 300 small files and takes from 20 ms to 100 ms, depending on
//! the file system. `TMPDIR=/dev/shm` puts the server into memory.
//!
//! # No orphans
//! A server stops and its directory is deleted when its value is dropped, and also when the process dies for any reason: a small
//! `sh` waits for the end of a pipe that only this process holds, then stops the server and deletes the directory.
//!
//! # Alternatives
//! `pgtemp` needs `sudo` when it runs as root, searches the binaries only on `PATH`, panics without them, and leaves its server and
//! directory behind when the process is killed. `postgresql_embedded` downloads or bundles a server instead of using the installed
//! one, cannot run as root, and its daemon also survives a killed process.
//!
//! # Platforms
//! Linux and macOS.

mod account;
mod admin;
mod binaries;
mod cluster;
mod database;
mod delivery;
mod directory;
mod error;
mod handle;
mod harness;
mod leftovers;
mod options;
mod process;
mod published;
mod server;
mod template;
mod url;
mod watchdog;

pub use database::Database;
pub use error::Error;
pub use handle::{HandlerOf, handle};
pub use harness::{Counted, Harness};
pub use options::{Mode, Options};
#[doc(inline)]
pub use published::assert_published;
#[doc(hidden)]
pub use published::find as __find;
pub use published::{Publications, published_in};
pub use server::Server;
pub use url::server_url;

/// The path of a program of this machine's PostgreSQL, such as `pg_dump`. `None` if it lacks the program, as a server without
/// client programs does, and the directory in the environment variable `PUBSUB_POSTGRES_TOOLS_BIN` does too.
pub fn program(name: &str) -> Option<std::path::PathBuf> {
    binaries::Binaries::find().ok()?.find_program(name)
}

/// Makes one of the runtime's own actors in this process panic: `listener`, `dispatcher`, `scheduler`, `heartbeat` or
/// `janitor`. The runtime restarts it.
pub fn inject_panic(actor: &str) {
    crate::panics::inject_panic(actor);
}

/// Whether every panic of [`inject_panic`] has happened.
pub fn injected_panics_have_happened() -> bool {
    crate::panics::all_injected_panics_happened()
}
