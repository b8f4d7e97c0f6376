//! Recovery, measured at default settings: `cargo bench --bench recovery` prints lines `figure NAME VALUE UNIT`.
//!
//! It starts a PostgreSQL server of its own with fsync on, on the machine it runs on. A worker, which is this binary
//! started again, and a survivor in this process share one subscription under a steady load. The worker is killed, or
//! frozen, at random times; what it had begun and not finished is timed until anybody begins it again.
//!
//! The handler takes 20 ms for an event. In the figures named `busy_` there is more to do than the survivor can do alone. In
//! those named `uneven_` one event in twenty takes 400 ms, which keeps leases open. Every event that the worker had leased is
//! an orphan, and each orphan is handled alone: what was leased and not begun, and what is slow, holds up the others.

mod freezes;
mod kills;
mod load;
mod tape;
mod worker;

use load::{BUSY, EVEN, UNEVEN};
use pubsub::Channel;
use pubsub::testing::{Options, Server};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio_postgres::{Client, NoTls};

/// How often the worker is killed in the first run (in the others a third of that), and how often frozen.
const KILLS: usize = 30;
const FREEZES: usize = 5;

/// Longest wait for anything that must happen.
const DEADLINE: Duration = Duration::from_secs(60);

/// The event that is handled.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("bench")]
struct Order {
    order: u64,
}

fn main() {
    actix::System::new().block_on(async {
        if let Some((url, work)) = worker::part() {
            return worker::play(url, work).await;
        }
        let options = Options { fsync: true, ..Options::default() };
        let server = Server::start_with(options).expect("a server for the benchmark");
        if is_wanted("kills") {
            kills::run(&server, "", EVEN, KILLS).await;
        }
        if is_wanted("busy") {
            kills::run(&server, "busy_", BUSY, KILLS / 3).await;
        }
        if is_wanted("uneven") {
            kills::run(&server, "uneven_", UNEVEN, KILLS / 3).await;
        }
        if is_wanted("freezes") {
            freezes::run(&server).await;
        }
    });
}

/// Whether the command line names a part of the benchmark, or none: `cargo bench --bench recovery -- freezes`.
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

/// The value that a share of them is below.
fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    values[(last as f64 * share).round() as usize]
}

#[expect(clippy::print_stdout, reason = "this is what the benchmark is for")]
fn figure(name: &str, value: f64, unit: &str) {
    println!("figure {name} {value:.0} {unit}");
}
