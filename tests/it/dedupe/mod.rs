//! An event whose deduplication key was published within the channel's window is not published again.

mod races;

use pubsub::{Channel, Delivery, EventId, PublishOptions, Published, publish, publish_all, publish_with};
use pubsub_tests::{Sms, TestDatabase, probe, sending};
use serde::{Deserialize, Serialize};

/// A letter. A customer gets each kind once.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("letter", key = customer, dedupe = "{customer}:{kind}")]
pub(crate) struct Letter {
    pub(crate) customer: i64,
    pub(crate) kind: Option<String>,
}

pub(crate) fn letter(customer: i64, kind: &str) -> Letter {
    Letter { customer, kind: Some(kind.to_owned()) }
}

const EVENTS: &str = "select count(*) from pubsub.db_events";

/// Ages every deduplication key.
async fn age(db: &TestDatabase, by: &str) {
    let sql = format!("update pubsub.dedupe_keys set published_at = published_at - interval '{by}'");
    db.client.batch_execute(&sql).await.unwrap();
}

#[actix::test]
async fn a_published_dedupe_key_is_not_published_again() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handle = sending(sender, |letter: Delivery<Letter>| (letter.event_id(), letter.customer));
    let pubsub = db.pubsub().declare::<Sms>().subscribe_fn("one", handle).start().await.unwrap();
    let first = publish(&db.client, &letter(1, "welcome")).await.unwrap();
    assert!(!first.is_duplicate());
    let first = first.id();
    for _ in 0..2 {
        let again = publish(&db.client, &letter(1, "welcome")).await.unwrap();
        assert_eq!(again, Published::Duplicate(first));
        let again = pubsub::publish(&pubsub, &letter(1, "welcome")).await.unwrap();
        assert_eq!(again, Published::Duplicate(first));
    }
    let said = PublishOptions::new().dedupe_key("1:welcome");
    assert_eq!(publish_with(&db.client, &letter(2, "welcome"), &said).await.unwrap().id(), first);
    let sql = r#"select id from pubsub.publish_once('letter', '{"customer": 3, "kind": null}', '1:welcome')
                 where is_duplicate"#;
    assert_eq!(EventId(db.count(sql).await), first);
    assert_eq!(db.count(EVENTS).await, 1);

    // Another key, another channel, and no key.
    let second = publish(&db.client, &letter(1, "birthday")).await.unwrap().id();
    assert!(second > first);
    publish_with(&db.client, &Sms::new("x"), &said).await.unwrap();
    publish_with(&db.client, &Sms::new("x"), &said).await.unwrap();
    for _ in 0..2 {
        publish(&db.client, &Letter { customer: 1, kind: None }).await.unwrap();
    }
    assert_eq!(db.count(EVENTS).await, 5);
    assert_eq!(db.count("select count(*) from pubsub.db_events where key = '1'").await, 4);
    let received = received.take_sorted(4).await;
    assert_eq!(received.iter().filter(|(id, _)| *id == first || *id == second).count(), 2);
}

#[actix::test]
async fn a_rollback_frees_the_dedupe_key() {
    let mut db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Letter>().start().await.unwrap();
    let transaction = db.client.transaction().await.unwrap();
    publish(&transaction, &letter(1, "welcome")).await.unwrap();
    transaction.rollback().await.unwrap();

    let mut transaction = db.client.transaction().await.unwrap();
    let savepoint = transaction.savepoint("inside").await.unwrap();
    let undone = publish(&savepoint, &letter(1, "welcome")).await.unwrap();
    savepoint.rollback().await.unwrap();
    let kept = publish(&transaction, &letter(1, "welcome")).await.unwrap();
    assert!(kept != undone && !kept.is_duplicate());
    assert_eq!(
        publish(&transaction, &letter(1, "welcome")).await.unwrap(),
        Published::Duplicate(kept.id()),
        "an event's own key counts at once"
    );
    transaction.commit().await.unwrap();
    assert_eq!(db.count(EVENTS).await, 1);
}

#[actix::test]
async fn a_dedupe_key_expires_after_its_channels_window() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Letter>().start().await.unwrap();
    let welcome = || async { publish(&db.client, &letter(1, "welcome")).await.unwrap().id() };
    let first = welcome().await;
    age(&db, "23 hours").await;
    assert_eq!(welcome().await, first, "a day, unless set");
    age(&db, "2 hours").await;
    let second = welcome().await;
    assert_ne!(second, first);
    assert_eq!(welcome().await, second, "and its time begins anew");

    let set_window = |to: &'static str| {
        let sql = format!("select pubsub.set_dedupe_window('letter', {to})");
        let client = &db.client;
        async move { client.batch_execute(&sql).await }
    };
    age(&db, "2 hours").await;
    set_window("'1 hour'").await.unwrap();
    let third = welcome().await;
    assert_ne!(third, second);
    set_window("null").await.unwrap();
    age(&db, "10 years").await;
    assert_eq!(welcome().await, third, "forever");
    assert_eq!(set_window("'0'").await.unwrap_err().code().unwrap().code(), "23514");
    assert_eq!(db.count("select count(*) from pubsub.dedupe_keys").await, 1);
}

#[actix::test]
async fn publish_all_publishes_each_dedupe_key_once_and_in_order() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Letter>().start().await.unwrap();
    publish(&db.client, &letter(2, "before")).await.unwrap();
    publish(&db.client, &letter(3, "before")).await.unwrap();
    age(&db, "2 days").await;
    publish(&db.client, &letter(3, "before")).await.unwrap();
    let none = Letter { customer: 8, kind: None };
    let events = [
        letter(9, "z"),
        letter(3, "before"), // known
        none.clone(),
        letter(2, "before"), // known, but its window is over
        letter(9, "z"),      // a repetition of the first
        letter(1, "a"),
        none,
    ];
    assert_eq!(publish_all(&db.client, &events).await.unwrap(), 5);
    let sql = "select string_agg(key, ' ' order by id) from pubsub.db_events where id > 3";
    let published: String = db.client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(published, "9 8 2 1 8");
    assert_eq!(publish_all(&db.client, &events).await.unwrap(), 2, "the events without a deduplication key");

    // More than fit into one statement.
    let many: Vec<_> = (0..2_500).map(|n| letter(n % 1_200, "many")).collect();
    assert_eq!(publish_all(&db.client, &many).await.unwrap(), 1_200);
    let kept = "select count(*)
                  from pubsub.dedupe_keys k
                  join pubsub.db_events e on e.id = k.event_id and e.key || ':many' = k.key";
    assert_eq!(db.count(kept).await, 1_200, "each key has the id of its event");
}

#[actix::test]
async fn expired_dedupe_keys_are_deleted_in_batches() {
    let db = TestDatabase::new().await;
    db.client.batch_execute("select pubsub.declare_channel('letter')").await.unwrap();
    let publish = "select pubsub.publish_once('letter', '{\"customer\": 1, \"kind\": null}', g::text)
                     from generate_series(1, 25) g";
    db.client.batch_execute(publish).await.unwrap();
    age(&db, "2 days").await;
    db.client.batch_execute("select pubsub.publish_once('letter', '{}', 'young')").await.unwrap();
    let mut publisher = pubsub_tests::connect(db.url()).await;
    let renewing = publisher.transaction().await.unwrap();
    renewing.batch_execute("select pubsub.publish_once('letter', '{}', '7')").await.unwrap();
    let forgotten = "select pubsub.forget_dedupe_keys(10)";
    assert_eq!(db.count(forgotten).await, 10);
    assert_eq!(db.count(forgotten).await, 10);
    assert_eq!(db.count(forgotten).await, 4, "the deletion does not wait for a key that is being renewed");
    renewing.commit().await.unwrap();
    assert_eq!(db.count(forgotten).await, 0);
    assert_eq!(db.count("select count(*) from pubsub.dedupe_keys").await, 2);

    age(&db, "2 days").await;
    let _pubsub = db.pubsub().start().await.unwrap();
    db.until_count("select count(*) from pubsub.dedupe_keys", 0).await;
}

/// A line of a chat. Its fields may have any text, also that of the separator.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("chat.line", dedupe = "{from}:{to}")]
struct Line {
    from: String,
    to: String,
}

#[actix::test]
async fn fields_with_the_separator_make_different_dedupe_keys() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Line>().start().await.unwrap();
    let note = |from: &str, to: &str| Line { from: from.into(), to: to.into() };
    let notes = [note("x:y", "z"), note("x", "y:z"), note("x\\", "y:z"), note("x\\:y", "z"), note("x", "z")];
    for note in &notes {
        assert!(!publish(&db.client, note).await.unwrap().is_duplicate(), "{note:?}");
    }
    for note in &notes {
        assert!(publish(&db.client, note).await.unwrap().is_duplicate(), "{note:?}");
    }
    let key = "select count(*) from pubsub.dedupe_keys where key = 'x:z'";
    assert_eq!(db.count(key).await, 1, "a field without the separator stands as it is");
}
