//! The events of a transaction, as a test sees them before it commits.

use super::complaint_of;
use pubsub::testing::{Harness, assert_published, published_in};
use pubsub::{Channel, publish, publish_all};
use pubsub_tests::{Email, Sms, TestDatabase, connect};
use serde::{Deserialize, Serialize};

#[actix::test]
async fn a_transaction_shows_its_own_events_before_it_commits() {
    let db = TestDatabase::new().await;
    let (mut first, mut second) = (connect(db.url()).await, connect(db.url()).await);
    let builder = pubsub::PubSub::builder(db.url()).declare::<Sms>().declare::<Email>();
    let pubsub = builder.start().await.unwrap();
    publish(&pubsub, &Sms::new("committed")).await.unwrap();
    let mine = first.transaction().await.unwrap();
    let other = second.transaction().await.unwrap();
    publish(&other, &Sms::new("of another")).await.unwrap();
    assert!(published_in::<Sms>(&mine).await.unwrap().is_empty());

    publish(&mine, &Email { receiver: "ada@shop.example".to_owned() }).await.unwrap();
    publish_all(&mine, &[Sms::new("Welcome, Ada!"), Sms::new("Bye, Ada!")]).await.unwrap();
    assert_published!(&mine, Sms { msg } if msg.starts_with("Welcome"));
    assert_published!(&mine, Sms { msg } if msg.starts_with("Bye"),);
    assert_published!(&mine, Sms { .. });
    assert_published!(&mine, Email { .. });
    assert_eq!(published_in::<Sms>(&mine).await.unwrap(), [Sms::new("Welcome, Ada!"), Sms::new("Bye, Ada!")]);
    let said = complaint_of(async { assert_published!(&mine, Sms { msg } if msg == "of another") }).await;
    assert_eq!(
        said,
        "no event matches `Sms { msg } if msg == \"of another\"`: 2 events were published on channel `sms` in this \
         transaction\n  {\"msg\": \"Welcome, Ada!\"}\n  {\"msg\": \"Bye, Ada!\"}"
    );
    assert!(published_in::<Sms>(&other).await.unwrap() == [Sms::new("of another")]);
    mine.rollback().await.unwrap();
}

#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("testkit.order")]
enum Order {
    Placed { id: i64 },
    Paid { id: i64, cents: u32 },
}

#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("testkit.letter")]
struct Letter {
    #[channel(redact)]
    address: String,
}

#[actix::test]
async fn a_failed_assertion_lists_what_was_published() {
    let db = TestDatabase::new().await;
    let declared = |builder: pubsub::Builder| builder.declare::<Order>().declare::<Letter>();
    let shop = Harness::start(&db.database, declared).await.unwrap();
    let none = complaint_of(async { assert_published!(&shop, Order::Placed { .. }) }).await;
    assert_eq!(
        none,
        "no event matches `Order::Placed { .. }`: no event was published on channel `testkit.order` in this database"
    );

    shop.publish(&Order::Paid { id: 1, cents: 250 }).await.unwrap();
    assert_published!(&shop, Order::Paid { id: 1, cents } if *cents > 200);
    assert_published!(&shop, Order::Placed { id: 1 } | Order::Paid { id: 1, .. });
    let one = complaint_of(async { assert_published!(&shop, Order::Placed { .. }) }).await;
    assert!(one.contains(": 1 event was published on channel `testkit.order` in this database\n"), "{one}");
    assert!(one.contains("\n  {\"Paid\": {"), "{one}");

    let many: Vec<Order> = (0..30).map(|id| Order::Placed { id }).collect();
    publish_all(shop.pubsub(), &many).await.unwrap();
    let many = complaint_of(async { assert_published!(&shop, Order::Paid { id: 7, .. }) }).await;
    assert!(many.contains(": 31 events were published") && many.lines().count() == 12, "{many}");
    assert!(many.ends_with("\n  .."), "{many}");

    shop.publish(&Letter { address: "a secret".repeat(99) }).await.unwrap();
    let hidden =
        complaint_of(async { assert_published!(&shop, Letter { address } if address.is_empty()) }).await;
    assert!(
        hidden.ends_with("in this database; they are not shown, because they have redacted fields"),
        "{hidden}"
    );
}

#[actix::test]
async fn who_asks_outside_the_transaction_is_told_so() {
    let db = TestDatabase::new().await;
    let shop = Harness::start(&db.database, pubsub::Builder::declare::<Order>).await.unwrap();
    shop.publish(&Order::Placed { id: 1 }).await.unwrap();
    let outside = complaint_of(async { assert_published!(shop.pubsub(), Order::Placed { .. }) }).await;
    assert!(
        outside.ends_with("in this transaction (only the transaction itself shows what it has published)"),
        "{outside}"
    );
}

#[actix::test]
async fn an_event_that_nobody_can_read_is_named() {
    let db = TestDatabase::new().await;
    let shop = Harness::start(&db.database, pubsub::Builder::declare::<Sms>).await.unwrap();
    let insert = "insert into pubsub.db_events (channel, payload) values ('sms', '{\"text\": \"hello\"}')";
    db.client.batch_execute(insert).await.unwrap();
    let said = complaint_of(async { assert_published!(&shop, Sms { .. }) }).await;
    assert!(said.contains("event 1 of channel `sms`: not readable at line 1"), "{said}");
    assert!(said.contains("`msg` is missing"), "{said}");
    assert!(shop.published::<Sms>().await.is_err());
}
