//! A database may have several hosts: one that does not answer costs its share of the time, and no more.

use pubsub::testing::Database;
use pubsub::{Delivery, Error, PubSub, Target, migrate};
use pubsub_tests::{Sms, connect, probe, sending};
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Starts a server that accepts, and answers nothing.
async fn silent_server() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            held.push(socket);
        }
    });
    (at, holding)
}

/// Returns an error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause)));
    format!("{error}{}", cause.unwrap_or_default())
}

#[actix::test]
async fn a_silent_host_is_passed_over_wherever_a_connection_is_made() {
    let database = Database::empty().await.unwrap();
    let (at, holding) = silent_server().await;
    let (start, rest) = database.url().split_once('@').unwrap();
    let url = format!("{start}@{at},{rest}?target_session_attrs=read-write");
    migrate(&url).await.unwrap();
    let (sender, mut received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
    let pubsub = PubSub::builder(&url).subscribe_fn("one", handler).start().await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("through the second host")).await.unwrap();
    assert_eq!(received.next().await, "through the second host");
    pubsub::admin::rebase(&url).await.unwrap();
    assert_eq!(pubsub::Subscription::<Sms>::connect(&url, "one").await.unwrap().lag().await.unwrap(), 0);

    // Every session ends, and each is opened again.
    let client = connect(database.url()).await;
    let end = "select count(pg_terminate_backend(a.pid)) from pg_stat_activity a
                where a.datname = current_database() and a.pid <> pg_backend_pid()";
    client.query(end, &[]).await.unwrap();
    client.execute("select pubsub.publish('sms', '{\"msg\": \"again\"}')", &[]).await.unwrap();
    assert_eq!(received.next().await, "again");
    holding.abort();
}

#[actix::test]
async fn an_error_of_connecting_names_each_server() {
    let (at, holding) = silent_server().await;
    let at = at.port();
    let hosts = "host=127.0.0.1,localhost,/nowhere,nobody.invalid";
    let url =
        format!("{hosts} port={at},1,2,3 hostaddr=,127.0.0.1,, user=ada connect_timeout=1 sslmode=disable");
    let target = Target::parse(&url).unwrap();
    let refused = target.connect().await.unwrap_err();
    assert!(matches!(refused, Error::Connect { .. }), "{refused:?}");
    assert_eq!((refused.code(), refused.is_retryable()), ("connect", true), "{refused:?}");
    let shown = format!("{refused:?}");
    let told =
        format!("cannot connect to `127.0.0.1:{at}` (no answer within 1.0 s), `localhost:1` at 127.0.0.1 (");
    assert!(shown.starts_with(&told), "{shown}");
    assert!(shown.contains("), `/nowhere/.s.PGSQL.2` (error connecting to server: "), "{shown}");
    assert!(shown.contains(") or `nobody.invalid:3`: "), "{shown}");
    // A pool has no errors but the driver's.
    let pooled = target.pool(1).get().await.unwrap_err();
    assert!(chain(&pooled).contains(&told), "{}", chain(&pooled));

    let only = Target::parse(&format!("host=127.0.0.1 port={at} user=ada connect_timeout=1")).unwrap();
    let refused = only.connect().await.unwrap_err();
    assert_eq!(format!("{refused:?}"), format!("cannot connect to `127.0.0.1:{at}`: no answer within 1.0 s"));
    assert_eq!((refused.code(), refused.is_retryable()), ("connect", true));
    holding.abort();
}
