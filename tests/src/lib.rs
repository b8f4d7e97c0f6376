//! Support for the tests of `pubsub`: a database per test, signals instead of sleeps, and a deadline on every wait.

mod authority;
mod bell_listener;
mod broken_function;
mod channels;
mod child_process;
mod deadline;
mod dump;
mod installation;
mod migration_pause;
mod owned_database;
mod pgbouncer;
mod probe;
mod proxy;
mod sql_subscriber;
mod test_database;
mod tls_server;

pub use authority::{Authority, Certified};
pub use bell_listener::BellListener;
pub use broken_function::break_function;
pub use channels::{Email, Sms};
pub use child_process::{ChildProcess, in_child_process};
pub use deadline::DEADLINE;
pub use dump::{
    dump, dump_and_restore, migrated, newer_binaries, newer_server, publish_each, rebase_if_needed,
    receive_ids, restore, restore_with, server_with_high_xids,
};
pub use installation::has_programs;
pub use migration_pause::MigrationPause;
pub use owned_database::OwnedDatabase;
pub use pgbouncer::PgBouncer;
pub use probe::{Received, Sender, probe};
pub use proxy::Proxy;
pub use sql_subscriber::{ClaimedEvent, SqlSubscriber};
pub use test_database::{TestDatabase, connect, count_processes_from_1, sending, until};
pub use tls_server::{TlsServer, VALID};
