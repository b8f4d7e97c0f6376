//! Measures the SQL without the runtime: `cargo bench --bench engine` prints lines `figure NAME VALUE UNIT`.
//!
//! The log is compared with a bare table without a trigger, with a trigger that notifies for each row, and with a queue of the
//! same shape whose consumers update, skip locked rows, and delete. All of them are on one PostgreSQL server, which the
//! benchmark starts with fsync on.
//!
//! The ways that are compared take turns of a second or a drain each, in an order that is reversed from round to round. So
//! none of them always has the warm caches, or the load of something else on the machine. A ratio is the median of the rounds'
//! ratios, and a figure the median of the rounds. `docs/benchmarks.md` explains the figures.

mod databases;
mod drain;
mod fan_out;
mod figures;
mod publishing;
mod rounds;
mod tables;

use pubsub::testing::{Options, Server};

fn main() {
    actix::System::new().block_on(async {
        let server = Server::start_with(options()).expect("a server for the benchmark");
        if is_wanted("publishing") {
            publishing::run(&server).await;
        }
        if is_wanted("drain") {
            drain::run(&server).await;
        }
        if is_wanted("fan_out") {
            fan_out::run(&server).await;
        }
    });
}

/// Allows no checkpoint but the benchmark's own. After a checkpoint, the first change of every page writes the whole page to
/// the WAL, which would count against the way that is measured then.
fn options() -> Options {
    let settings = [("checkpoint_timeout", "1d"), ("max_wal_size", "16GB"), ("max_connections", "300")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Options { fsync: true, settings, ..Options::default() }
}

/// Whether the command line names this part of the benchmark, or none: `cargo bench --bench engine -- drain`.
fn is_wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}
