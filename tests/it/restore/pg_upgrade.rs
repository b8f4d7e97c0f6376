//! Upgrades from one version of PostgreSQL to a newer one lose and repeat nothing.

use pubsub_tests::{
    SqlSubscriber, connect, dump_and_restore, newer_binaries, newer_server, publish_each, receive_ids,
    server_with_high_xids, until,
};
use std::time::Duration;

#[actix::test]
#[ignore = "needs PUBSUB_POSTGRES_NEWER_BIN: a PostgreSQL newer than the default"]
async fn a_dump_restored_into_a_newer_version_goes_on_where_it_was() {
    let (old, client) = server_with_high_xids().await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    publish_each(&client, 10).await;
    assert_eq!(one.claim(4).await.unwrap().len(), 4, "leased, and the window open");
    let newer = newer_server();
    println!("from {} to {}", old.version(), newer.version());
    dump_and_restore(&old, &newer);
    let (_pubsub, mut received) = receive_ids(&newer.url("postgres")).await.unwrap();
    assert_eq!(
        received.take_sorted(10).await,
        (1..=10).collect::<Vec<_>>(),
        "also the leased events, whose process is gone"
    );
}

#[actix::test]
#[ignore = "needs PUBSUB_POSTGRES_NEWER_BIN: a PostgreSQL newer than the default"]
async fn pg_upgrade_loses_and_repeats_nothing() {
    let newer = newer_binaries();
    let (mut server, client) = server_with_high_xids().await;
    let subscriber = SqlSubscriber::register(&client, "two").await.unwrap();
    let (pubsub, mut received) = receive_ids(&server.url("postgres")).await.unwrap();
    let mut long = connect(&server.url("postgres")).await;
    // An open window with a transaction in flight at its boundary.
    let in_flight = long.transaction().await.unwrap();
    let late = publish_each(&in_flight, 1).await;
    let before = publish_each(&client, 10).await;
    let leased = subscriber.claim(4).await.unwrap();
    in_flight.commit().await.unwrap();
    let expected = [late, before].concat();
    assert_eq!(received.take_sorted(11).await, expected);
    let settled =
        format!("select not exists (select from pubsub.leases where process <> {})", subscriber.process);
    until(&client, &settled).await;
    let process = subscriber.process;
    let was = server.version().to_owned();
    server.upgrade(&newer).unwrap();
    println!("from {was} to {}", server.version());

    let client = connect(&server.url("postgres")).await;
    let after = publish_each(&client, 3).await;
    assert_eq!(received.take_sorted(3).await, after);
    assert!(received.rest().is_empty(), "no event comes again");
    let settle = "select pubsub.settle($1, $2)";
    let settled: bool = client.query_one(settle, &[&process, &leased[0].token]).await.unwrap().get(0);
    assert!(settled, "the lease still holds");
    let subscriber = SqlSubscriber::register(&client, "two").await.unwrap();
    let mut rest = subscriber.drain(3).await.unwrap();
    rest.extend(leased.iter().map(|event| event.id));
    rest.sort_unstable();
    assert_eq!(rest, [expected, after].concat(), "the window is read to its end");
    let row = client
        .query_one(
            "select i.floor, i.system_identifier = (pubsub.cluster()).system_identifier
               from pubsub.log_identity i where i.marker = 1",
            &[],
        )
        .await
        .unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (0, true), "noted, and not rebased");
    assert!(pubsub.drain(Duration::from_secs(10)).await);
}
