//! The databases of the benchmark.

use pubsub::testing::Server;
use tokio_postgres::{Client, NoTls};

/// Creates and migrates the database of one process.
pub(crate) async fn database(server: &Server, name: &str) -> String {
    let admin = connect(&server.url("postgres")).await;
    admin.batch_execute(&format!("create database {name}")).await.expect("a database for the run");
    let url = server.url(name);
    pubsub::migrate(&url).await.expect("its schema");
    url
}

pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    tokio::spawn(connection);
    client
}
