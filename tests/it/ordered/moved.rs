//! A seek or a restore moves every lane of an ordered subscription.

use pubsub::subscription::Seek;
use pubsub::testing::Server;
use pubsub::{Delivery, PubSub, PublishOptions, SubscribeOptions, publish_with};
use pubsub_tests::{
    DEADLINE, Received, Sms, TestDatabase, connect, dump_and_restore, has_programs, probe,
    server_with_high_xids,
};
use std::collections::BTreeMap;
use tokio_postgres::Client;

/// The most windows that are opened until one is clean.
const MOST_WINDOWS: usize = 100;

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

async fn publish(client: &Client, numbers: std::ops::Range<usize>) {
    for n in numbers {
        for key in KEYS {
            let options = PublishOptions::new().key(key);
            publish_with(client, &Sms::new(n.to_string()), &options).await.unwrap();
        }
    }
}

/// Starts a runtime whose ordered subscription reports the key and number of each event, and whether it is a replay.
async fn receive(url: &str) -> (PubSub, Received<(String, usize, bool)>) {
    let (sender, received) = probe();
    let handle = move |sms: Delivery<Sms>| {
        let key = sms.key().unwrap_or_default().to_owned();
        sender.send((key, sms.msg.parse().unwrap(), sms.is_replay()));
        std::future::ready(Ok(()))
    };
    let options = SubscribeOptions::new().ordered().lanes(3);
    let pubsub = PubSub::builder(url).subscribe_fn_with("ordered", options, handle).start().await.unwrap();
    (pubsub, received)
}

/// Receives these numbers of every key, in order for each key.
async fn receive_in_order(
    received: &mut Received<(String, usize, bool)>,
    numbers: std::ops::Range<usize>,
    replay: bool,
) {
    let mut by_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (key, n, is_replay) in received.take(KEYS.len() * numbers.len()).await {
        assert_eq!(is_replay, replay, "{key}:{n}");
        by_key.entry(key).or_default().push(n);
    }
    for key in KEYS {
        assert_eq!(by_key[key], numbers.clone().collect::<Vec<_>>(), "{key}");
    }
}

#[actix::test]
async fn a_seek_moves_every_lane_and_replays_keys_in_order() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = receive(db.url()).await;
    publish(&db.client, 0..10).await;
    receive_in_order(&mut received, 0..10, false).await;
    db.until_settled().await;

    let counted = pubsub.subscription::<Sms>("ordered").seek_dry_run(Seek::Beginning).await.unwrap();
    assert_eq!((counted.replayed, counted.skipped), (50, 0));
    assert_eq!(pubsub.subscription::<Sms>("ordered").seek(Seek::Beginning).await.unwrap(), counted);
    receive_in_order(&mut received, 0..10, true).await;
    publish(&db.client, 10..12).await;
    receive_in_order(&mut received, 10..12, false).await;
    db.until_settled().await;
    assert!(received.rest().is_empty());
}

/// Whether a restore of the database in its current state would be rebased automatically.
async fn is_exact(client: &Client) -> bool {
    // The rows of a log that was moved are written under one transaction id.
    let moved = "begin; update pubsub.log_identity set marker = marker; select pubsub.recognize(); rollback";
    let is_exact = client.batch_execute(moved).await.is_ok();
    if !is_exact {
        client.batch_execute("rollback").await.unwrap();
    }
    is_exact
}

#[actix::test]
async fn after_a_restore_every_lane_goes_on_where_it_was() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (old, client) = server_with_high_xids().await;
    // An event that arrives while a window is opened and is claimed in it looks unclaimed after the restore, and leaves the
    // rebase to the operator. So this repeats until the last window of every lane is clean.
    let mut numbers = 0..0;
    while numbers.is_empty() || !is_exact(&client).await {
        numbers = numbers.end..numbers.end + 1;
        assert!(numbers.end < MOST_WINDOWS, "no window is clean");
        let (pubsub, mut received) = receive(&old.url("postgres")).await;
        publish(&client, numbers.clone()).await;
        receive_in_order(&mut received, numbers.clone(), false).await;
        assert!(pubsub.drain(DEADLINE).await);
    }
    let pending = numbers.end..numbers.end + 4;
    publish(&client, pending.clone()).await;
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);

    let (pubsub, mut received) = receive(&fresh.url("postgres")).await;
    receive_in_order(&mut received, pending.clone(), false).await;
    let options = PublishOptions::new().key("a");
    pubsub::publish_with(&pubsub, &Sms::new(pending.end.to_string()), &options).await.unwrap();
    assert_eq!(received.next().await, ("a".to_owned(), pending.end, false));
    assert!(received.rest().is_empty());
}

#[actix::test]
async fn a_takeover_and_a_first_claim_do_not_deadlock() {
    let db = TestDatabase::numbered().await;
    let client = &db.client;
    let publish = "insert into pubsub.db_events (channel, key, payload)
                   select 'sms', 'k' || n, '{}' from generate_series(1, 40) n";
    for sql in [
        "select pubsub.declare_channel('sms')",
        "select pubsub.subscribe('sms', 'one', lanes => 4)",
        "select pubsub.register_process('dead', 1, 'v'), pubsub.register_process('heir', 1, 'v')",
        "select pubsub.claim(1, 1, 1)",
        publish,
        "select pubsub.claim(1, 1, 40)",
        publish,
    ] {
        client.batch_execute(sql).await.unwrap();
    }
    let holder = connect(db.url()).await;
    holder
        .batch_execute("begin; select pg_advisory_xact_lock(hashtext('pubsub.claiming') + 4, 1)")
        .await
        .unwrap();
    let url = db.url().to_owned();
    let run = |sql: &'static str| {
        let url = url.clone();
        tokio::spawn(async move { connect(&url).await.batch_execute(sql).await })
    };
    // As pubsub.reclaim does, which declares nobody dead for its silence just after the server's start.
    let reclaim = run("select pubsub.end_process(1, 'crash', 'died')");
    let waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted
                    and database = (select oid from pg_database where datname = current_database())";
    db.until_count(waiting, 1).await;
    let claim = run("select pubsub.claim(1, 2, 10)");
    db.until_count(waiting, 2).await;
    holder.batch_execute("commit").await.unwrap();
    reclaim.await.unwrap().unwrap();
    claim.await.unwrap().unwrap();
}
