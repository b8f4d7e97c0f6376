//! Dumps and restores databases, and finds a second version of PostgreSQL.

use crate::{Received, Sms, connect, probe, sending};
use pubsub::testing::{Options, Server};
use pubsub::{Delivery, Error, PubSub};
use std::path::PathBuf;
use std::process::Command;
use tokio_postgres::Client;

/// The environment variable with the directory of a newer PostgreSQL's binaries.
const NEWER: &str = "PUBSUB_POSTGRES_NEWER_BIN";

/// The binaries of a PostgreSQL that is newer than the default one.
///
/// # Panics
/// If the environment variable is not set. The test has not been run then.
pub fn newer_binaries() -> PathBuf {
    let directory = std::env::var_os(NEWER);
    PathBuf::from(directory.unwrap_or_else(|| panic!("NOT RUN: {NEWER} does not name a newer PostgreSQL")))
}

/// Starts a server of that version.
///
/// # Panics
/// If it does not start.
pub fn newer_server() -> Server {
    let options = Options { bin_dir: Some(newer_binaries()), ..Options::default() };
    Server::start_with(options).expect("a newer server")
}

/// Dumps the database `postgres` of one server and restores it into another one, with the newer server's tools.
///
/// # Panics
/// If a tool fails.
pub fn dump_and_restore(from: &Server, to: &Server) {
    restore(&dump(from, to), to, "postgres");
}

/// Dumps the database `postgres`, for a server of the version of `reader`.
///
/// # Panics
/// If `pg_dump` fails.
pub fn dump(from: &Server, reader: &Server) -> Vec<u8> {
    let url = from.url("postgres");
    let dump = Command::new(program(reader, "pg_dump")).args(["--format=custom", &url]).output();
    let dump = dump.expect("pg_dump is installed");
    assert!(dump.status.success(), "pg_dump: {}", String::from_utf8_lossy(&dump.stderr));
    dump.stdout
}

/// The path of a server's program, or of this machine's if it has none of its own.
fn program(server: &Server, name: &str) -> PathBuf {
    let own = server.bin_dir().join(name);
    if own.exists() { own } else { pubsub::testing::program(name).unwrap_or(own) }
}

/// Restores a dump into a database that exists.
///
/// # Panics
/// If `pg_restore` fails.
pub fn restore(dump: &[u8], to: &Server, database: &str) {
    restore_with(dump, to, database, &[]);
}

/// Restores what these options of `pg_restore` leave of a dump.
///
/// # Panics
/// If `pg_restore` fails.
pub fn restore_with(dump: &[u8], to: &Server, database: &str, options: &[&str]) {
    let file = std::env::temp_dir().join(format!("pubsub-dump-{:016x}", fastrand::u64(..)));
    std::fs::write(&file, dump).expect("a place for the dump");
    let mut command = Command::new(program(to, "pg_restore"));
    command.args(["--dbname", &to.url(database)]).args(options).arg(&file);
    let restored = command.output();
    std::fs::remove_file(&file).expect("the dump was written");
    let restored = restored.expect("pg_restore is installed");
    assert!(restored.status.success(), "pg_restore: {}", String::from_utf8_lossy(&restored.stderr));
}

/// Installs the schema and channel `sms` in a server's database `postgres`. Returns a client of it.
///
/// # Panics
/// If that fails.
pub async fn migrated(server: &Server) -> Client {
    let url = server.url("postgres");
    pubsub::migrate(&url).await.expect("a migrated database");
    let client = connect(&url).await;
    client.batch_execute("select pubsub.declare_channel('sms')").await.expect("a channel");
    client
}

/// Starts a server with the schema, whose transaction ids are far above those of a fresh one.
///
/// # Panics
/// If that fails.
pub async fn server_with_high_xids() -> (Server, Client) {
    let server = Server::start().expect("a server");
    let client = migrated(&server).await;
    let spend = "do $$ begin for n in 1 .. 20000 loop perform pg_current_xact_id(); commit; end loop; end $$";
    client.batch_execute(spend).await.expect("transaction ids can be spent");
    (server, client)
}

/// Publishes events one by one, and returns their ids.
///
/// # Panics
/// If that fails.
pub async fn publish_each(executor: impl pubsub::Executor + Copy, count: usize) -> Vec<i64> {
    let mut ids = Vec::with_capacity(count);
    for n in 0..count {
        ids.push(pubsub::publish(executor, &Sms::new(n.to_string())).await.expect("published").id().0);
    }
    ids
}

/// Starts a runtime whose subscription `one` accepts every event and sends its id to the test.
///
/// # Errors
/// Those of `start`.
pub async fn receive_ids(url: &str) -> Result<(PubSub, Received<i64>), Error> {
    let (sender, received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| sms.event_id().0);
    let pubsub = PubSub::builder(url).subscribe_fn("one", handler).start().await?;
    Ok((pubsub, received))
}

/// Rebases a restored database, unless that has been done. Returns whether it was rebased automatically.
///
/// # Panics
/// If that fails.
pub async fn rebase_if_needed(url: &str) -> bool {
    let client = connect(url).await;
    match client.batch_execute("select pubsub.recognize()").await {
        Ok(()) => true,
        Err(refused) => {
            assert_eq!(refused.code().expect("the server refuses").code(), "PB005");
            pubsub::admin::rebase(url).await.expect("a rebased log");
            false
        }
    }
}
