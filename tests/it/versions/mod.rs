//! Binaries that know different versions of a payload run side by side, lose no event and burn no attempt.

mod killed;

use pubsub::{
    Channel, Delivery, Failure, OlderVersion, PubSub, PublishOptions, SubscribeOptions, publish, publish_with,
};
use pubsub_tests::{DEADLINE, Received, SqlSubscriber, TestDatabase, probe, sending};
use serde::{Deserialize, Serialize};

/// The old binary's type. It is not derived, because no two types of one crate may derive the same channel, and these stand
/// for two binaries.
pub(crate) mod old {
    use pubsub::{Backoff, Channel};
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Clone, Serialize, Deserialize)]
    pub(crate) struct Note(pub(crate) String);

    impl Channel for Note {
        const NAME: &'static str = "note";
        const BACKOFF: Backoff = super::new::Note::BACKOFF;
    }
}

/// The new binary's type.
pub(crate) mod new {
    use super::old;
    use pubsub::Channel;
    use serde::{Deserialize, Serialize};

    #[derive(Debug, Clone, Serialize, Deserialize, Channel)]
    #[channel("note", version = 2, upcast_from = old::Note, backoff(initial = "5ms", max = "20ms"))]
    pub(crate) struct Note {
        pub(crate) msg: String,
    }

    impl From<old::Note> for Note {
        fn from(old::Note(msg): old::Note) -> Self {
            Self { msg: format!("{msg}, upcast") }
        }
    }
}

fn ordered() -> SubscribeOptions {
    SubscribeOptions::new().ordered().lanes(4)
}

/// Starts the old binary's runtime, with what it receives.
async fn old_binary(db: &TestDatabase, options: SubscribeOptions) -> (PubSub, Received<(String, u32)>) {
    let (sender, received) = probe();
    let handle = sending(sender, |note: Delivery<old::Note>| (note.0.clone(), note.attempt()));
    (db.pubsub().subscribe_fn_with("one", options, handle).start().await.unwrap(), received)
}

/// Starts the new binary's runtime, with what it receives.
pub(crate) async fn new_binary(
    db: &TestDatabase,
    options: SubscribeOptions,
) -> (PubSub, Received<(String, u32)>) {
    let (sender, received) = probe();
    let handle = sending(sender, |note: Delivery<new::Note>| (note.msg.clone(), note.attempt()));
    (db.pubsub().subscribe_fn_with("one", options, handle).start().await.unwrap(), received)
}

fn first_attempt(msg: &str) -> (String, u32) {
    (msg.to_owned(), 1)
}

/// Counts the deliveries in the mailbox whose version nobody running knows.
pub(crate) const UNKNOWN_VERSION: &str =
    "select count(*) from pubsub.mailbox where needs = 2 and attempt = 0 and token is null";

pub(crate) async fn publish_new(db: &TestDatabase, msg: &str) {
    publish(&db.client, &new::Note { msg: msg.to_owned() }).await.unwrap();
}

async fn publish_keyed<C: Channel>(db: &TestDatabase, event: &C) {
    publish_with(&db.client, event, &PublishOptions::new().key("k")).await.unwrap();
}

#[actix::test]
async fn an_event_of_an_older_version_is_read_by_upcast() {
    let db = TestDatabase::new().await;
    let (_new, mut received) = new_binary(&db, SubscribeOptions::new()).await;
    publish(&db.client, &old::Note("old".to_owned())).await.unwrap();
    publish_new(&db, "new").await;
    assert_eq!(received.take_sorted(2).await, [first_attempt("new"), first_attempt("old, upcast")]);
    db.until_settled().await;
}

#[derive(Debug, Deserialize)]
struct MemoV1(String);

#[derive(Debug, Deserialize, OlderVersion)]
#[channel("memo", version = 2, upcast_from = MemoV1)]
struct MemoV2 {
    msg: String,
}

#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("memo", version = 3, upcast_from = MemoV2)]
struct Memo {
    text: String,
}

impl From<MemoV1> for MemoV2 {
    fn from(MemoV1(msg): MemoV1) -> Self {
        Self { msg: format!("{msg}, upcast") }
    }
}

impl From<MemoV2> for Memo {
    fn from(MemoV2 { msg }: MemoV2) -> Self {
        Self { text: format!("{msg}, again") }
    }
}

#[actix::test]
async fn upcasts_are_chained_from_version_to_version() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handle = sending(sender, |memo: Delivery<Memo>| memo.text.clone());
    let _pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    publish(&db.client, &Memo { text: "3".to_owned() }).await.unwrap();
    let older =
        r#"select pubsub.publish('memo', '"1"'), pubsub.publish('memo', '{"msg": "2"}', version => 2)"#;
    db.client.batch_execute(older).await.unwrap();
    assert_eq!(received.take_sorted(3).await, ["1, upcast, again", "2, again", "3"]);
}

#[actix::test]
async fn an_event_of_an_unknown_old_version_is_undecodable() {
    #[derive(Serialize, Deserialize, Channel)]
    #[channel("memo.without-past", version = 2, upcast_from = none)]
    struct Memo {
        msg: String,
    }
    let db = TestDatabase::new().await;
    let _pubsub = db
        .pubsub()
        .subscribe_fn("one", |memo: Delivery<Memo>| async move { Err(Failure::reject(memo.msg.clone())) })
        .start()
        .await
        .unwrap();
    db.client.batch_execute(r#"select pubsub.publish('memo.without-past', '{"msg": "old"}')"#).await.unwrap();
    db.until_count("select count(*) from pubsub.dead_letters where reason = 'undecodable'", 1).await;
    let row = db.client.query_one("select error from pubsub.dead_letters", &[]).await.unwrap();
    assert_eq!(
        row.get::<_, &str>(0),
        "the event has version 1, and the oldest version that can be read here is 2: add `upcast_from` to version 2"
    );
}

#[actix::test]
async fn an_event_of_a_future_version_waits_for_a_newer_binary() {
    let db = TestDatabase::new().await;
    let (old, mut received_by_old) = old_binary(&db, SubscribeOptions::new()).await;
    for msg in ["a", "b"] {
        publish_new(&db, msg).await;
    }
    publish(&db.client, &old::Note("old".to_owned())).await.unwrap();
    assert_eq!(received_by_old.next().await, first_attempt("old"));
    db.until_count(UNKNOWN_VERSION, 2).await;
    let observed =
        "select count(*) from pubsub.observed_mailbox where version = 2 and needs = 2 and not leased";
    assert_eq!(db.count(observed).await, 2, "the waiting event is visible");
    assert_eq!(db.count("select too_new from pubsub.observed_subscriptions").await, 2);

    let (_new, mut received) = new_binary(&db, SubscribeOptions::new()).await;
    assert_eq!(received.take_sorted(2).await, [first_attempt("a"), first_attempt("b")]);
    db.until_settled().await;
    assert!(received_by_old.rest().is_empty());
    assert!(old.drain(DEADLINE).await);
}

#[actix::test]
async fn old_and_new_binaries_each_get_the_versions_they_know() {
    let db = TestDatabase::new().await;
    let (_old, mut received_by_old) = old_binary(&db, SubscribeOptions::new()).await;
    let (_new, mut received_by_new) = new_binary(&db, SubscribeOptions::new()).await;
    for n in 0..100 {
        publish_new(&db, &n.to_string()).await;
    }
    let received = received_by_new.take_sorted(100).await;
    assert!(received.iter().all(|(_, attempt)| *attempt == 1), "{received:?}");
    db.until_settled().await;
    assert!(received_by_old.rest().is_empty() && received_by_new.rest().is_empty());
}

#[actix::test]
async fn a_binary_neither_claims_nor_awaits_unknown_versions() {
    let db = TestDatabase::new().await;
    let subscriber = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let publish =
        "select pubsub.publish('sms', '{}', version => 2), pubsub.publish('sms', '{}', version => 2)";
    db.client.batch_execute(publish).await.unwrap();
    let claimed = subscriber.claim(2).await.unwrap();
    let too_new = format!(r#"[{{"id": {}, "action": "too_new"}}]"#, claimed[0].id);
    let settle = "select pubsub.settle($1, $2, '{}', $3::text::jsonb)";
    db.client.query_one(settle, &[&subscriber.process, &claimed[0].token, &too_new]).await.unwrap();
    // The other event failed at a process that knows its version, and is due too.
    subscriber.fail(claimed[1].token, claimed[1].id).await.unwrap();

    let claim = |version: &str| {
        let process = subscriber.process;
        format!("select count(*) from pubsub.claim_mailbox(1, {process}, 10, knows => {version})")
    };
    let due =
        |version: i32| format!("select count(*) from pubsub.next_due('{{1}}', knows => '{{{version}}}')");
    assert_eq!(db.count(&due(1)).await, 1, "the event that no process has refused");
    assert_eq!(db.count(&claim("1")).await, 0);
    assert_eq!(db.count(&due(1)).await, 0, "now it is refused too");
    assert_eq!(db.count(&due(2)).await, 1);
    assert_eq!(db.count(&claim("2")).await, 2);
    assert_eq!(db.count("select sum(attempt) from pubsub.mailbox").await, 1 + 2);
}

#[actix::test]
async fn a_subscriber_that_names_no_version_gets_all() {
    let db = TestDatabase::new().await;
    let (_pubsub, _received) = db.receive("one").await;
    db.client.batch_execute("select pubsub.publish('sms', '{}', version => 2)").await.unwrap();
    db.until_count(UNKNOWN_VERSION, 1).await;
    let subscriber = SqlSubscriber::register(&db.client, "one").await.unwrap();
    assert_eq!(db.count("select count(*) from pubsub.next_due('{1}')").await, 1);
    assert_eq!(subscriber.claim_mailbox(10).await.unwrap().len(), 1);
}

#[actix::test]
async fn a_retry_of_a_future_version_avoids_the_old_binary() {
    let db = TestDatabase::new().await;
    let (_old, mut received_by_old) = old_binary(&db, SubscribeOptions::new()).await;
    publish_new(&db, "new").await;
    db.until_count(UNKNOWN_VERSION, 1).await;
    let (sender, mut received) = probe();
    let handle = move |note: Delivery<new::Note>| {
        let attempt = note.attempt();
        sender.send(attempt);
        async move { if attempt < 3 { Err(Failure::retry("not yet")) } else { Ok(()) } }
    };
    let _new = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    assert_eq!(received.take(3).await, [1, 2, 3]);
    db.until_settled().await;
    assert!(received_by_old.rest().is_empty());
}

#[actix::test]
async fn redriven_and_replayed_future_versions_avoid_the_old_binary() {
    let db = TestDatabase::new().await;
    let handle = |_: Delivery<new::Note>| async { Err(Failure::reject("no")) };
    let new = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    publish_new(&db, "redriven").await;
    db.until_count("select count(*) from pubsub.dead_letters", 1).await;
    assert!(new.drain(DEADLINE).await);

    let (old, mut received_by_old) = old_binary(&db, SubscribeOptions::new()).await;
    old.subscription::<new::Note>("one").redrive().await.unwrap();
    db.until_count("select count(*) from pubsub.mailbox where needs = 2", 1).await;
    old.subscription::<new::Note>("one").seek(pubsub::subscription::Seek::Beginning).await.unwrap();
    db.until_count("select count(*) from pubsub.leases", 0).await;
    db.until_count("select count(*) from pubsub.mailbox where needs = 2", 1).await;
    let (_new, mut received) = new_binary(&db, SubscribeOptions::new()).await;
    received.next().await;
    db.until_settled().await;
    assert!(received_by_old.rest().is_empty());
}

#[actix::test]
async fn key_order_holds_across_versions() {
    let db = TestDatabase::new().await;
    let (old, mut received_by_old) = old_binary(&db, ordered()).await;
    publish_keyed(&db, &old::Note("0".to_owned())).await;
    publish_keyed(&db, &new::Note { msg: "1".to_owned() }).await;
    publish_keyed(&db, &old::Note("2".to_owned())).await;
    publish_keyed(&db, &new::Note { msg: "3".to_owned() }).await;
    assert_eq!(received_by_old.next().await, first_attempt("0"));
    db.until_count("select count(*) from pubsub.mailbox where token is null", 3).await;
    assert!(received_by_old.rest().is_empty(), "2 waits behind 1");

    assert!(old.drain(DEADLINE).await);
    let (_new, mut received) = new_binary(&db, ordered()).await;
    assert_eq!(received.take(3).await, [first_attempt("1"), first_attempt("2, upcast"), first_attempt("3")]);
    db.until_settled().await;
}

#[actix::test]
async fn a_key_in_the_old_binarys_lane_goes_on_at_the_new_one() {
    let db = TestDatabase::new().await;
    let (_old, mut received_by_old) = old_binary(&db, ordered()).await;
    let (_new, mut received_by_new) = new_binary(&db, ordered()).await;
    let runners = "select count(*) from pubsub.runners";
    db.until_count(runners, 2).await;
    db.until_count("select count(distinct process) from pubsub.lanes", 2).await;
    // Keys of every lane, so that the old binary has some.
    for key in 0..20 {
        for n in 0..3 {
            let event = new::Note { msg: format!("{key}:{n}") };
            let options = PublishOptions::new().key(key.to_string());
            publish_with(&db.client, &event, &options).await.unwrap();
        }
    }
    let received = received_by_new.take(60).await;
    for key in 0..20 {
        let of_key: Vec<&str> =
            received.iter().filter_map(|(msg, _)| msg.strip_prefix(&format!("{key}:"))).collect();
        assert_eq!(of_key, ["0", "1", "2"], "of key {key}");
    }
    db.until_settled().await;
    assert!(received_by_old.rest().is_empty());
}

#[actix::test]
async fn two_shapes_of_one_version_are_reported_with_their_time() {
    let db = TestDatabase::new().await;
    let declare = |fingerprint: i64| {
        let sql = "select pubsub.declare_version('note', 2, $1) is not null";
        let client = &db.client;
        async move { client.query_one(sql, &[&fingerprint]).await.unwrap().get::<_, bool>(0) }
    };
    let _pubsub = db.pubsub().declare::<new::Note>().start().await.unwrap();
    let fingerprint = new::Note::FINGERPRINT.cast_signed();
    assert!(!declare(fingerprint).await, "it is the declared fingerprint");
    assert!(declare(17).await);
    assert!(!declare(17).await, "reported once");
    assert!(declare(fingerprint).await);
}

#[actix::test]
async fn an_event_carries_the_fingerprint_of_its_payload_type() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<new::Note>().start().await.unwrap();
    publish_new(&db, "one").await;
    pubsub::publish_all(&db.client, &[new::Note { msg: "two".to_owned() }]).await.unwrap();
    db.client.batch_execute(r#"select pubsub.publish('note', '{"msg": "three"}')"#).await.unwrap();
    let rows = db.client.query("select fingerprint from pubsub.db_events order by id", &[]).await.unwrap();
    let fingerprints: Vec<Option<i64>> = rows.iter().map(|row| row.get(0)).collect();
    let known = Some(new::Note::FINGERPRINT.cast_signed());
    assert_eq!(fingerprints, [known, known, None]);
}

#[actix::test]
async fn events_of_a_future_version_are_parked_in_bulk() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    let future = r#"insert into pubsub.db_events (channel, payload, version)
                    select 'sms', '{"msg": "of a version to come"}', 2 from generate_series(1, 6000)"#;
    db.client.batch_execute(future).await.unwrap();
    db.client.batch_execute(r#"select pubsub.publish('sms', '{"msg": "known"}')"#).await.unwrap();
    assert_eq!(received.next().await, "known");
    db.until_count(UNKNOWN_VERSION, 6_000).await;
    // Claims of two, as for a handler that has not shown yet how fast it is, would be three thousand.
    let claims = db.count("select last_value from pubsub.leases_token_seq").await;
    assert!(claims < 50, "{claims} claims");
}
