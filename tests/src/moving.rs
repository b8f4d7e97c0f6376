//! Moving a database: dump and restore, and where a second version of PostgreSQL is.

use pubsub::testing::{Options, Server};
use std::path::PathBuf;
use std::process::Command;

/// The environment variable with the directory of a newer PostgreSQL's binaries.
const NEWER: &str = "PUBSUB_POSTGRES_NEWER_BIN";

/// The binaries of a PostgreSQL that is newer than the one the tests use otherwise.
///
/// # Panics
/// If nobody said where it is: the test that needs it has not been run then.
pub fn newer_binaries() -> PathBuf {
    let directory = std::env::var_os(NEWER);
    PathBuf::from(directory.unwrap_or_else(|| panic!("NOT RUN: {NEWER} does not name a newer PostgreSQL")))
}

/// A server of that version.
///
/// # Panics
/// If it does not start.
pub fn newer_server() -> Server {
    let options = Options { bin_dir: Some(newer_binaries()), ..Options::default() };
    Server::start_with(options).expect("a newer server")
}

/// Dumps the database `postgres` of one server and restores it into another, with the newer one's tools.
///
/// # Panics
/// If a tool fails.
pub fn dump_and_restore(from: &Server, to: &Server) {
    restore(&dump(from, to), to);
}

/// Dumps the database `postgres`, for a server of the version of `reader`.
///
/// # Panics
/// If `pg_dump` fails.
pub fn dump(from: &Server, reader: &Server) -> Vec<u8> {
    let url = from.url("postgres");
    let dump = Command::new(reader.bin_dir().join("pg_dump")).args(["--format=custom", &url]).output();
    let dump = dump.expect("pg_dump is installed");
    assert!(dump.status.success(), "pg_dump: {}", String::from_utf8_lossy(&dump.stderr));
    dump.stdout
}

/// Restores a dump.
///
/// # Panics
/// If `pg_restore` fails.
pub fn restore(dump: &[u8], to: &Server) {
    let file = std::env::temp_dir().join(format!("pubsub-dump-{:016x}", fastrand::u64(..)));
    std::fs::write(&file, dump).expect("a place for the dump");
    let url = to.url("postgres");
    let restored = Command::new(to.bin_dir().join("pg_restore")).args(["--dbname", &url]).arg(&file).output();
    std::fs::remove_file(&file).expect("the dump was written");
    let restored = restored.expect("pg_restore is installed");
    assert!(restored.status.success(), "pg_restore: {}", String::from_utf8_lossy(&restored.stderr));
}
