//! A seek or a restore moves every lane of an ordered subscription.

use pubsub::subscription::Seek;
use pubsub::testing::Server;
use pubsub::{Delivery, PubSub, PublishOptions, SubscribeOptions, publish_with};
use pubsub_tests::{
    DEADLINE, Received, Sms, TestDatabase, dump_and_restore, has_programs, probe, server_with_high_xids,
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
    client.query_one("select pubsub.rebase_is_exact()", &[]).await.unwrap().get(0)
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
