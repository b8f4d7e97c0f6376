//! Measures the whole path: `cargo bench --bench end_to_end` prints lines `figure NAME VALUE UNIT`.
//!
//! The benchmark starts its own PostgreSQL server with fsync on. Client, runtime and server share the cores of the machine, so
//! compare only figures of one run with each other. Each figure is the median of three runs. `docs/benchmarks.md` explains the
//! figures.

mod databases;
mod drain;
mod figures;
mod idle;
mod idle_subscriptions;
mod latency;
mod order;
mod publishing;

use pubsub::testing::{Options, Server};

fn main() {
    actix::System::new().block_on(async {
        let options = Options { fsync: true, ..Options::default() };
        let server = Server::start_with(options).expect("a server for the benchmark");
        if is_wanted("publishing") {
            publishing::run(&server).await;
        }
        if is_wanted("latency") {
            latency::run(&server).await;
        }
        if is_wanted("drain") {
            drain::run(&server).await;
        }
        if is_wanted("idle") {
            idle::run(&server).await;
        }
        if is_wanted("idle_subscriptions") {
            idle_subscriptions::run(&server).await;
        }
    });
}

/// Whether the command line names this part, or none.
fn is_wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}
