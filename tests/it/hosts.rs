//! A database may have several hosts: one that does not answer costs its share of the time, and no more.

use pubsub::testing::Database;
use pubsub::{Delivery, PubSub, migrate};
use pubsub_tests::{Sms, connect, probe, sending};
use tokio::net::TcpListener;

#[actix::test]
async fn a_silent_host_is_passed_over_wherever_a_connection_is_made() {
    let database = Database::empty().await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = silent.local_addr().unwrap();
    // It accepts, and answers nothing.
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((socket, _)) = silent.accept().await {
            held.push(socket);
        }
    });
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
