//! A channel's settings for key, order and retention apply to every publisher and subscriber.

use pubsub::{
    Channel, Delivery, Error, PublishOptions, SubscribeOptions, publish, publish_all, publish_with,
};
use pubsub_tests::{TestDatabase, probe};
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use std::time::Duration;

/// A step of an order.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("step", key = order, ordered, retention = "30d")]
struct Step {
    order: i64,
    n: usize,
}

/// A note that may be about a customer.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("postcard", key = customer.name, retention = "forever")]
struct Note {
    customer: Customer,
}

#[derive(Debug, Serialize, Deserialize)]
struct Customer {
    name: Option<String>,
}

fn note(name: Option<&str>) -> Note {
    Note { customer: Customer { name: name.map(str::to_owned) } }
}

/// The keys in the log, in the order of their events.
async fn keys(db: &TestDatabase) -> Vec<Option<String>> {
    let rows = db.client.query("select key from pubsub.db_events order by id", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

#[actix::test]
async fn every_way_to_publish_stores_the_channels_key() {
    let mut db = TestDatabase::new().await;
    let pubsub = db.pubsub().declare::<Step>().start().await.unwrap();
    let step = |order| Step { order, n: 0 };
    publish(&db.client, &step(1)).await.unwrap();
    let transaction = db.client.transaction().await.unwrap();
    publish_with(&transaction, &step(2), &PublishOptions::new().header("a", "b")).await.unwrap();
    publish_with(&transaction, &step(3), &PublishOptions::new().key("said")).await.unwrap();
    assert_eq!(publish_all(&transaction, &[step(4), step(5)]).await.unwrap(), 2);
    transaction.commit().await.unwrap();
    pubsub::publish(&pubsub, &step(6)).await.unwrap();
    pubsub::publish_with(&pubsub, &step(7), &PublishOptions::new().key("said too")).await.unwrap();
    let expected = ["1", "2", "said", "4", "5", "6", "said too"].map(|key| Some(key.to_owned()));
    assert_eq!(keys(&db).await, expected);
}

#[actix::test]
async fn an_event_without_a_key_value_has_no_key() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Note>().start().await.unwrap();
    publish(&db.client, &note(None)).await.unwrap();
    publish_all(&db.client, &[note(Some("Ada")), note(None), note(Some(""))]).await.unwrap();
    publish_all(&db.client, &[note(None)]).await.unwrap();
    let expected = [None, Some("Ada"), None, Some(""), None].map(|key| key.map(str::to_owned));
    assert_eq!(keys(&db).await, expected);
}

#[actix::test]
async fn an_unstorable_key_is_refused_before_the_database() {
    let mut db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Note>().start().await.unwrap();
    let transaction = db.client.transaction().await.unwrap();
    let long = "x".repeat(1_025);
    for (key, why) in
        [("a\0b", "a NUL character at byte 1"), (long.as_str(), "1025 bytes, and the limit is 1024")]
    {
        let options = PublishOptions::new().key(key);
        let as_dedupe_key = PublishOptions::new().dedupe_key(key);
        for refused in [
            publish_with(&transaction, &note(None), &options).await.unwrap_err(),
            publish_with(&transaction, &note(None), &as_dedupe_key).await.unwrap_err(),
        ] {
            assert!(matches!(refused, Error::InvalidPayload { channel: "postcard", .. }), "{refused:?}");
            assert!(refused.source().unwrap().to_string().contains(why), "{refused:?}");
        }
    }
    let refused = publish_all(&transaction, &[note(None), note(Some(&long))]).await.unwrap_err();
    assert!(refused.source().unwrap().to_string().contains("1025 bytes"), "{refused:?}");
    publish(&transaction, &note(Some(&long[..1_024]))).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 1);
}

#[actix::test]
async fn an_ordered_channel_is_handled_in_order() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handle = move |step: Delivery<Step>| {
        let sender = sender.clone();
        async move {
            sender.send((step.order, step.n, true));
            tokio::time::sleep(Duration::from_millis(2).mul_f64(fastrand::f64())).await;
            sender.send((step.order, step.n, false));
            Ok(())
        }
    };
    let _pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    let steps: Vec<Step> = (0..20).flat_map(|n| (0..4).map(move |order| Step { order, n })).collect();
    assert_eq!(publish_all(&db.client, &steps).await.unwrap(), 80);
    let received = received.take(160).await;
    for order in 0..4 {
        let of_order: Vec<_> =
            received.iter().filter(|step| step.0 == order).map(|&(_, n, begins)| (n, begins)).collect();
        let expected: Vec<_> = (0..20).flat_map(|n| [(n, true), (n, false)]).collect();
        assert_eq!(of_order, expected, "order {order}");
    }
}

#[actix::test]
async fn a_subscription_may_override_its_channels_order_and_lanes() {
    let db = TestDatabase::new().await;
    let done = |_: Delivery<Step>| std::future::ready(Ok(()));
    let options = SubscribeOptions::new;
    let _pubsub = db
        .pubsub()
        .subscribe_fn::<Step, _>("as_declared", done)
        .subscribe_fn_with::<Step, _>("in_3_lanes", options().lanes(3), done)
        .subscribe_fn_with::<Step, _>("unordered", options().unordered(), done)
        .subscribe_fn_with::<Step, _>("ordered_after_all", options().unordered().ordered(), done)
        .subscribe_fn::<Note, _>("z_not_declared", |_: Delivery<Note>| std::future::ready(Ok(())))
        .start()
        .await
        .unwrap();
    let rows =
        db.client.query("select name, lanes from pubsub.subscriptions order by name", &[]).await.unwrap();
    let lanes: Vec<(String, i32)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let expected = [
        ("as_declared", 8),
        ("in_3_lanes", 3),
        ("ordered_after_all", 8),
        ("unordered", 0),
        ("z_not_declared", 0),
    ];
    assert_eq!(lanes, expected.map(|(name, lanes)| (name.to_owned(), lanes)));
}

#[actix::test]
async fn the_builders_retention_wins_over_the_channels() {
    let db = TestDatabase::new().await;
    let retentions =
        "select string_agg(name || ' ' || coalesce(retention::text, 'forever'), ', ' order by name)
                        from pubsub.channels";
    let retentions = || async { db.client.query_one(retentions, &[]).await.unwrap().get::<_, String>(0) };
    let _first = db.pubsub().declare::<Step>().declare::<Note>().start().await.unwrap();
    assert_eq!(retentions().await, "postcard forever, step 720:00:00");
    let day = pubsub::Retention::For(Duration::from_secs(86_400));
    let _second = db.pubsub().retention::<Step>(day).declare::<Step>().start().await.unwrap();
    assert_eq!(retentions().await, "postcard forever, step 24:00:00");
}
