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

#[actix::test]
async fn large_events_and_many_look_for_no_waiters_if_none_sleep() {
    let db = TestDatabase::numbered().await;
    let client = &db.client;
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one')", "register_process('host', 1, 'v')"] {
        client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    // Looking for waiters fails, and so does the long way of many events.
    let fails = "language plpgsql as $$ begin raise exception 'called'; end $$";
    let no_look = format!("create or replace function pubsub.ring_bell(channel text) returns void {fails}");
    client.batch_execute(&no_look).await.unwrap();
    let many = "insert into pubsub.db_events (channel, payload) select 'sms', '1' from generate_series(1, 9)";
    let one = |bytes: usize| {
        format!("select pubsub.publish('sms', to_jsonb(repeat(md5(random()::text), {bytes} / 32)))")
    };
    client.batch_execute(many).await.unwrap();
    let no_long_way = format!(
        "create or replace function pubsub.wait_to_publish(channel text, patience text) returns void {fails}"
    );
    client.batch_execute(&no_long_way).await.unwrap();
    for bytes in [32, 2_000, 200_000] {
        client.batch_execute(&one(bytes)).await.unwrap();
    }
    client.batch_execute("select pubsub.start_waiting(1, 1, '1 minute')").await.unwrap();
    let rings = client.batch_execute(&one(2_000)).await.unwrap_err();
    assert_eq!(rings.as_db_error().unwrap().message(), "called");
}
