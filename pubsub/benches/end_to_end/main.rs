//! The whole path, measured: `cargo bench --bench end_to_end` prints lines `figure NAME VALUE UNIT`.
//!
//! It starts a PostgreSQL server of its own with fsync on, on the machine it runs on: client, runtime and server share its
//! cores. Compare figures of one run with each other; absolute values do not travel. Each figure is the median of
//! [`RUNS`] runs. What they mean is in `docs/benchmarks.md`.

mod drain;
mod idle;
mod latency;
mod publishing;

use pubsub::Channel;
use pubsub::testing::{Options, Server};
use serde::{Deserialize, Serialize};
use tokio_postgres::{Client, NoTls};

/// Runs behind each figure.
const RUNS: usize = 3;

/// The event that is measured: about a hundred bytes of JSON.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("bench")]
struct Order {
    order: u64,
    amount: f64,
    note: String,
}

impl Order {
    fn new(order: u64) -> Self {
        Self {
            order,
            amount: 9.99,
            note: "a note about as long as an average one, and not longer than that".into(),
        }
    }
}

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
    });
}

/// Whether a part was asked for: all are, unless some are named.
fn is_wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}

/// A migrated database of its own for one run.
async fn database(server: &Server, name: &str) -> String {
    let admin = connect(&server.url("postgres")).await;
    admin.batch_execute(&format!("create database {name}")).await.expect("a database for the run");
    let url = server.url(name);
    pubsub::migrate(&url).await.expect("its schema");
    url
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// The middle one of some values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The value that a share of them is below.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    values[(last as f64 * share).round() as usize]
}

#[expect(clippy::print_stdout, reason = "this is what the benchmark is for")]
fn figure(name: &str, value: f64, unit: &str) {
    if value < 100.0 {
        println!("figure {name} {value:.3} {unit}");
    } else {
        println!("figure {name} {value:.0} {unit}");
    }
}
