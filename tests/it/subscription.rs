//! Operations on a subscription, with and without a running runtime.

use pubsub::admin::{drop_channel, force_drop_channel};
use pubsub::subscription::Seek;
use pubsub::{Error, Subscription, publish_all};
use pubsub_tests::{Sms, SqlSubscriber, TestDatabase};
use std::time::Duration;

#[tokio::test]
async fn a_tool_operates_on_a_subscription_without_a_runtime() {
    let db = TestDatabase::new().await;
    let handler = SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish_all(&db.client, &["a", "b", "c"].map(Sms::new)).await.unwrap();
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    assert_eq!(one.name(), "one");
    assert_eq!(one.lag().await.unwrap(), 3);

    let claimed = &handler.claim(1).await.unwrap()[0];
    assert_eq!(one.lag().await.unwrap(), 2, "a claimed event is read");
    let rejected = format!(r#"[{{"id": {}, "action": "reject"}}]"#, claimed.id);
    let settle = "select pubsub.settle($1, $2, null, $3::text::jsonb)";
    db.client.execute(settle, &[&handler.process, &claimed.token, &rejected]).await.unwrap();
    let letters = one.dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.event_id.0).collect::<Vec<_>>(), [claimed.id]);
    assert_eq!(one.redrive().await.unwrap(), 1);

    let report = one.seek(Seek::Now).await.unwrap();
    assert_eq!((report.replayed, report.skipped), (0, 2));
    assert_eq!(one.clone().lag().await.unwrap(), 0);
    assert_eq!(one.resume().await.unwrap(), 0);
}

#[tokio::test]
async fn a_tool_is_told_when_there_is_no_subscription() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    let two = Subscription::<Sms>::connect(db.url(), "two").await.unwrap();
    let unknown = two.lag().await.unwrap_err();
    assert!(format!("{unknown:?}").contains("has no subscription"), "{unknown:?}");

    db.client.batch_execute("drop schema pubsub cascade").await.unwrap();
    let missing = Subscription::<Sms>::connect(db.url(), "one").await;
    assert!(matches!(missing, Err(Error::SchemaMissing)), "{missing:?}");
}

#[actix::test]
async fn a_subscription_ends_with_its_runtime() {
    let db = TestDatabase::new().await;
    let (pubsub, _received) = db.receive("one").await;
    let one = pubsub.subscription::<Sms>("one");
    assert_eq!(one.lag().await.unwrap(), 0);
    pubsub.drain(Duration::from_secs(10)).await;
    assert!(matches!(one.lag().await, Err(Error::Stopped)));

    let pubsub = db.pubsub().start().await.unwrap();
    let one = pubsub.subscription::<Sms>("one");
    drop(pubsub);
    assert!(matches!(one.lag().await, Err(Error::Stopped)), "it does not keep the runtime alive");
}

#[tokio::test]
async fn a_subscription_in_use_is_removed_only_by_force() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish_all(&db.client, &["a", "b"].map(Sms::new)).await.unwrap();
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    let refused = one.unsubscribe().await.unwrap_err();
    assert_eq!((refused.code(), refused.is_retryable()), ("PB009", false));
    assert!(refused.to_string().contains("2 unread"), "{refused}");

    let removed = one.force_unsubscribe().await.unwrap();
    assert_eq!((removed.unread, removed.leased, removed.waiting, removed.dead_letters), (2, 0, 0, 0));
    assert_eq!(one.force_unsubscribe().await.unwrap_err().code(), "PB004");
}

#[tokio::test]
async fn a_channel_is_dropped_with_its_events() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish_all(&db.client, &["a", "b"].map(Sms::new)).await.unwrap();
    let refused = drop_channel(db.url(), "sms").await.unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused:?}");
    let removed = force_drop_channel(db.url(), "sms").await.unwrap();
    assert_eq!((removed.subscriptions, removed.events), (1, 2));
    let gone = drop_channel(db.url(), "sms").await.unwrap_err();
    assert!(matches!(gone, Error::UndeclaredChannel { .. }), "{gone:?}");
}
