//! The engine by itself, measured: `cargo bench --bench engine` prints lines `figure NAME VALUE UNIT`.
//!
//! SQL only, no runtime: what the migrations cost and bring, beside a bare table without trigger, a trigger that notifies for
//! each row, and a queue of the same shape whose consumers update, skip what is locked, and delete. All on one PostgreSQL
//! server that the benchmark starts, with fsync on, on the machine it runs on.
//!
//! The ways that are compared take turns of a second or a drain each, in an order that is reversed from round to round, so
//! that neither always has the warm half nor what else the machine does. A ratio is the median of the rounds' ratios, a
//! figure the median of the rounds. What they mean is in `docs/benchmarks.md`.

mod drain;
mod fan_out;
mod publishing;
mod rounds;
mod tables;

use pubsub::testing::{Options, Server};
use tokio_postgres::{Client, NoTls};

/// The payload of every event: about a hundred bytes of JSON.
const PAYLOAD: &str = r#"{"order": 123, "amount": 9.99, "note": "a note about as long as an average one, and not longer than that"}"#;

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

/// No checkpoint but ours: after one, the first change of every page writes the whole page to the WAL, and whoever is
/// measured then would pay for it.
fn options() -> Options {
    let settings = [("checkpoint_timeout", "1d"), ("max_wal_size", "16GB"), ("max_connections", "300")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Options { fsync: true, settings, ..Options::default() }
}

/// Whether the command line names a part of the benchmark, or none: `cargo bench --bench engine -- drain`.
fn is_wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}

/// A migrated database of its own, with our tables in it.
async fn database(server: &Server, name: &str) -> String {
    let admin = connect(&server.url("postgres")).await;
    admin.batch_execute(&format!("create database {name}")).await.expect("a database for the run");
    let url = server.url(name);
    pubsub::migrate(&url).await.expect("its schema");
    let client = connect(&url).await;
    client.batch_execute(tables::DEFINITIONS).await.expect("the tables to compare with");
    client.batch_execute(tables::WITHOUT_AUTOVACUUM).await.expect("tables without autovacuum");
    url
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// The single number of a query.
async fn number(client: &Client, sql: &str) -> f64 {
    let row = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    row.get(0)
}

/// Where the WAL ends.
async fn wal_position(client: &Client) -> f64 {
    number(client, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8").await
}

/// The middle one of some values.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "this is what the benchmark is for")]
fn figure(name: &str, value: f64, unit: &str) {
    if value < 100.0 {
        println!("figure {name} {value:.3} {unit}");
    } else {
        println!("figure {name} {value:.0} {unit}");
    }
}
