//! An event commits with the caller's data.

use pubsub::{Channel, Delivery, PublishOptions, publish, publish_all, publish_with};
use pubsub_tests::{Email, Received, Sms, TestDatabase, probe, sending};
use std::time::Duration;

/// Starts a runtime whose only subscription sends its deliveries to the test.
async fn start(db: &TestDatabase) -> (pubsub::PubSub, Received<Delivery<Sms>>) {
    let (sender, received) = probe();
    let pubsub = db
        .pubsub()
        .declare::<Email>()
        .subscribe_fn("one", sending(sender, |sms: Delivery<Sms>| sms))
        .start()
        .await
        .unwrap();
    (pubsub, received)
}

#[actix::test]
async fn publish_commits_and_rolls_back_with_the_caller() {
    let mut db = TestDatabase::new().await;
    let (pubsub, mut received) = start(&db).await;

    let transaction = db.client.transaction().await.unwrap();
    publish(&transaction, &Sms::new("rolled back")).await.unwrap();
    transaction.rollback().await.unwrap();

    let transaction = db.client.transaction().await.unwrap();
    publish(&transaction, &Sms::new("committed")).await.unwrap();
    assert!(received.rest().is_empty(), "nothing is seen before the commit");
    transaction.commit().await.unwrap();

    assert_eq!(received.next().await.msg, "committed");
    db.until_settled().await;
    assert!(pubsub.drain(Duration::from_secs(10)).await);
    assert!(received.rest().is_empty(), "the rolled back event was never delivered");
}

#[actix::test]
async fn a_savepoint_rollback_discards_only_its_own_events() {
    let mut db = TestDatabase::new().await;
    let (_pubsub, mut received) = start(&db).await;

    let mut transaction = db.client.transaction().await.unwrap();
    publish(&transaction, &Sms::new("before")).await.unwrap();
    let savepoint = transaction.savepoint("in_between").await.unwrap();
    publish(&savepoint, &Sms::new("inside")).await.unwrap();
    savepoint.rollback().await.unwrap();
    publish(&transaction, &Sms::new("after")).await.unwrap();
    transaction.commit().await.unwrap();

    let received: Vec<_> = received.take(2).await.into_iter().map(Delivery::into_payload).collect();
    assert_eq!(received, [Sms::new("before"), Sms::new("after")]);
}

#[actix::test]
async fn a_deadpool_transaction_can_publish() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = start(&db).await;
    let manager = deadpool_postgres::Manager::new(db.url().parse().unwrap(), tokio_postgres::NoTls);
    let pool = deadpool_postgres::Pool::builder(manager).build().unwrap();

    let mut client = pool.get().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    publish(&transaction, &Sms::new("pooled")).await.unwrap();
    transaction.commit().await.unwrap();

    assert_eq!(received.next().await.msg, "pooled");
}

#[actix::test]
async fn a_delivery_carries_the_publishers_options() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = start(&db).await;
    let options = PublishOptions::new().key("order-17").header("tenant", "a").header("trace", "00-4bf9");

    let id = publish_with(&db.client, &Sms::new("hello"), &options).await.unwrap().id();

    let delivery = received.next().await;
    assert_eq!(delivery.event_id(), id);
    assert_eq!(delivery.key(), Some("order-17"));
    assert_eq!(
        delivery.headers().into_iter().collect::<Vec<_>>(),
        [("tenant".to_owned(), "a".to_owned()), ("trace".to_owned(), "00-4bf9".to_owned())]
    );
    assert_eq!((delivery.attempt(), delivery.subscription()), (1, "one"));
    let age = jiff::Timestamp::now().duration_since(delivery.published_at()).as_secs_f64();
    assert!(age.abs() < 60.0, "published {age} s ago");
}

#[actix::test]
async fn many_events_are_published_in_one_transaction() {
    let mut db = TestDatabase::new().await;
    let (_pubsub, mut received) = start(&db).await;
    let events: Vec<Sms> = (0..2_500).map(|n| Sms::new(n.to_string())).collect();

    let transaction = db.client.transaction().await.unwrap();
    assert_eq!(publish_all(&transaction, &events).await.unwrap(), 2_500);
    transaction.commit().await.unwrap();

    let received: Vec<_> = received.take(2_500).await.into_iter().map(Delivery::into_payload).collect();
    assert_eq!(received, events, "in publish order");
}

#[actix::test]
async fn the_runtime_publishes_without_a_transaction() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = start(&db).await;
    let id = pubsub::publish(&pubsub, &Sms::new("by itself")).await.unwrap().id();
    assert_eq!(received.next().await.event_id(), id);
    pubsub::publish(&pubsub, &Email { receiver: "nobody@example.com".into() }).await.unwrap();
    assert_eq!(Email::NAME, "email");
}

#[test]
fn publishing_works_on_any_thread() {
    fn is_send<T: Send>(
        _: impl FnOnce(&'static pubsub::PubSub, &'static tokio_postgres::Transaction<'static>) -> T,
    ) {
    }
    static SMS: Sms = Sms { msg: String::new() };
    is_send(|pubsub, _| publish(pubsub, &SMS));
    is_send(|pubsub, _| pubsub.drain(Duration::ZERO));
    is_send(|_, transaction| publish(transaction, &SMS));
    is_send(|_, transaction| publish_all(transaction, [&SMS]));
}
