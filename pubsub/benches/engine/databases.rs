//! The databases of the benchmark.

use crate::tables::{DEFINITIONS, WITHOUT_AUTOVACUUM};
use pubsub::testing::Server;
use tokio_postgres::{Client, NoTls};

/// Creates and migrates the database of one run, and adds the tables to compare with.
pub(crate) async fn database(server: &Server, name: &str) -> String {
    let admin = connect(&server.url("postgres")).await;
    admin.batch_execute(&format!("create database {name}")).await.expect("a database for the run");
    let url = server.url(name);
    pubsub::migrate(&url).await.expect("its schema");
    let client = connect(&url).await;
    client.batch_execute(DEFINITIONS).await.expect("the tables to compare with");
    client.batch_execute(WITHOUT_AUTOVACUUM).await.expect("tables without autovacuum");
    url
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}

/// Returns the single number of a query.
pub(crate) async fn number(client: &Client, sql: &str) -> f64 {
    let row = client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    row.get(0)
}

/// Returns the position where the WAL ends.
pub(crate) async fn wal_position(client: &Client) -> f64 {
    number(client, "select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::float8").await
}
