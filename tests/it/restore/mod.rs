//! A database that is restored from a dump goes on where it was, and no event is skipped.

mod at_random;
mod failover;
mod pg_upgrade;
mod replicated;
mod without_rights;

use pubsub::Error;
use pubsub::admin::rebase;
use pubsub::subscription::Seek;
use pubsub::testing::{Mode, Server};
use pubsub_tests::{
    Sms, SqlSubscriber, connect, dump, dump_and_restore, has_programs, migrated, publish_each,
    rebase_if_needed, receive_ids, restore, restore_with, server_with_high_xids, until,
};

const PUBLISH: &str = "select pubsub.publish('sms', '{}')";

#[actix::test]
async fn a_restored_database_is_rebased_when_the_runtime_starts() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (old, client) = server_with_high_xids().await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    publish_each(&client, 5).await;
    one.drain(10).await.unwrap();
    let pending = publish_each(&client, 5).await;
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);

    let (pubsub, mut received) = receive_ids(&fresh.url("postgres")).await.unwrap();
    assert_eq!(received.take_sorted(5).await, pending);
    let new = pubsub::publish(&pubsub, &Sms::new("new")).await.unwrap().id();
    assert_eq!(received.next().await, new.0);
    // The old events can still be replayed, although their transaction ids mean nothing here.
    let sought = pubsub.subscription::<Sms>("one").seek(Seek::Beginning).await.unwrap();
    assert_eq!((sought.replayed, sought.skipped), (11, 0));
    assert_eq!(received.take(11).await.len(), 11);
}

#[actix::test]
async fn events_published_before_a_rebase_are_delivered() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (old, client) = server_with_high_xids().await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    publish_each(&client, 5).await;
    assert_eq!(one.drain(10).await.unwrap().len(), 5);
    let pending = publish_each(&client, 5).await;
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);
    let client = connect(&fresh.url("postgres")).await;
    let since = publish_each(&client, 5).await;

    // The old cursor counts them as read.
    let refused = receive_ids(&fresh.url("postgres")).await.map(drop).unwrap_err();
    assert!(matches!(refused, Error::Moved { .. }), "{refused:?}");
    assert!(
        refused.to_string().contains("Run pubsub::admin::rebase, or \"select pubsub.rebase()\""),
        "{refused}"
    );
    let subscriber = SqlSubscriber::register(&client, "one").await.unwrap_err();
    assert_eq!(subscriber.code().unwrap().code(), "PB005");
    let claim = "select * from pubsub.claim(1, 1, 10)";
    assert_eq!(client.batch_execute(claim).await.unwrap_err().code().unwrap().code(), "PB005");

    assert_eq!(rebase(&fresh.url("postgres")).await.unwrap(), 1);
    let (_pubsub, mut received) = receive_ids(&fresh.url("postgres")).await.unwrap();
    assert_eq!(received.take_sorted(10).await, [pending, since].concat());
    assert!(received.rest().is_empty());
    // A rebase can be repeated.
    assert_eq!(rebase(&fresh.url("postgres")).await.unwrap(), 1);
    publish_each(&client, 1).await;
    received.next().await;
    assert!(received.rest().is_empty(), "no event comes again");
}

#[actix::test]
async fn a_process_that_reconnects_to_a_restored_database_goes_on() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (mut old, client) = server_with_high_xids().await;
    let mut fresh = Server::start().unwrap();
    let database = fresh.url("postgres");
    let hosts = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", old.port(), fresh.port());
    fresh.stop(Mode::Fast).unwrap();
    let (_pubsub, mut received) = receive_ids(&hosts).await.unwrap();
    let first = publish_each(&client, 3).await;
    assert_eq!(received.take_sorted(3).await, first);

    until(&client, "select not exists (select from pubsub.leases)").await;
    let dump = dump(&old, &fresh);
    let lost = publish_each(&client, 100).await;
    assert_eq!(received.take_sorted(100).await, lost);
    old.stop(Mode::Immediate).unwrap();
    fresh.start_again().unwrap();
    // Restored under another name and then renamed, because the process tries to connect all the time.
    let other = connect(&fresh.url("template1")).await;
    other.batch_execute("create database restored template template0").await.unwrap();
    restore(&dump, &fresh, "restored");
    other.batch_execute("drop database postgres with (force)").await.unwrap();
    other.batch_execute("alter database restored rename to postgres").await.unwrap();
    // Event ids, tokens, process ids and transaction ids are lower than before, while the process still runs.
    let client = connect(&database).await;
    let again = publish_each(&client, 3).await;
    assert!(again.iter().all(|id| lost.contains(id)), "the ids of lost events are reused");
    rebase_if_needed(&database).await;
    assert_eq!(received.take_sorted(3).await, again);
    let beats =
        "select count(*) = 1 from pubsub.processes where beat_at > clock_timestamp() - interval '5 s'";
    until(&client, beats).await;
}

#[actix::test]
async fn an_event_of_the_old_cluster_is_no_straggler_of_the_new() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    // Both clusters are fresh, so most transaction ids of the new one were those of an event of the old one.
    let old = Server::start().unwrap();
    let client = migrated(&old).await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    publish_each(&client, 3000).await;
    one.drain(500).await.unwrap();
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);
    let client = connect(&fresh.url("postgres")).await;
    let mut long = connect(&fresh.url("postgres")).await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    let mut collisions = 0;
    for _ in 0..50 {
        let in_flight = long.transaction().await.unwrap();
        let late: i64 = in_flight.query_one(PUBLISH, &[]).await.unwrap().get(0);
        let twin = "select count(*) from pubsub.db_events where xid = pg_current_xact_id() and id <> $1";
        collisions += in_flight.query_one(twin, &[&late]).await.unwrap().get::<_, i64>(0);
        let early = publish_each(&client, 1).await;
        assert_eq!(one.drain(5).await.unwrap(), early);
        in_flight.commit().await.unwrap();
        assert_eq!(one.drain(5).await.unwrap(), [late]);
    }
    assert!(collisions > 0, "otherwise this shows nothing");
}

#[actix::test]
async fn a_rebase_waits_for_open_publishers() {
    let (old, client) = server_with_high_xids().await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    let mut other = connect(&old.url("postgres")).await;
    let in_flight = other.transaction().await.unwrap();
    let late: i64 = in_flight.query_one(PUBLISH, &[]).await.unwrap().get(0);
    let url = old.url("postgres");
    let rebasing = tokio::spawn(async move { rebase(&url).await });
    let waits = "select exists (select from pg_locks where mode = 'ShareLock' and not granted
                   and relation = 'pubsub.db_events'::regclass)";
    until(&client, waits).await;
    in_flight.commit().await.unwrap();
    assert_eq!(rebasing.await.unwrap().unwrap(), 1);
    assert_eq!(one.drain(5).await.unwrap(), [late]);
}

#[actix::test]
async fn a_subscription_past_the_end_of_the_log_gets_new_events() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (old, client) = server_with_high_xids().await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    publish_each(&client, 5).await;
    client.batch_execute("select pubsub.seek('sms', 'one', event => 1000)").await.unwrap();
    let since = publish_each(&client, 3).await;
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);
    let client = connect(&fresh.url("postgres")).await;
    let restored = SqlSubscriber::register(&client, "one").await.unwrap();
    assert_eq!(restored.drain(10).await.unwrap(), since);
    assert_eq!(one.drain(10).await.unwrap(), since, "as in the old database");
}

#[actix::test]
async fn a_partial_restore_is_not_taken_for_a_complete_one() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (old, client) = server_with_high_xids().await;
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    publish_each(&client, 3).await;
    one.drain(10).await.unwrap();
    let pending = publish_each(&client, 3).await;
    let fresh = Server::start().unwrap();
    let dump = dump(&old, &fresh);
    let client = connect(&fresh.url("postgres")).await;
    for section in ["pre-data", "data"] {
        restore_with(&dump, &fresh, "postgres", &["--section", section]);
        let early = client.batch_execute("select pubsub.recognize()").await.unwrap_err();
        assert_eq!(early.code().unwrap().code(), "PB005", "{section}");
        assert!(early.as_db_error().unwrap().message().contains("is being restored here"), "{early:?}");
        assert!(receive_ids(&fresh.url("postgres")).await.is_err(), "{section}");
    }
    restore_with(&dump, &fresh, "postgres", &["--section", "post-data"]);
    let (_pubsub, mut received) = receive_ids(&fresh.url("postgres")).await.unwrap();
    assert_eq!(received.take_sorted(3).await, pending);
}
