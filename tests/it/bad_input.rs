//! Bad input gets a clear error, and no event is lost.

use pubsub::{Channel, Delivery, Error, publish};
use pubsub_tests::{Email, Sms, SqlSubscriber, TestDatabase, probe, sending};
use serde::{Deserialize, Serialize};
use std::error::Error as _;

#[actix::test]
async fn an_error_names_the_undeclared_channel_and_the_nearest() {
    let mut db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();

    let transaction = db.client.transaction().await.unwrap();
    let refused = publish(&transaction, &Email { receiver: "x".into() }).await.unwrap_err();
    assert!(matches!(refused, Error::UndeclaredChannel { .. }), "{refused:?}");
    assert!(refused.to_string().starts_with("channel \"email\" is not declared"), "{refused}");
    transaction.rollback().await.unwrap();

    let sql = "insert into pubsub.db_events (channel, payload) values ('smz', '{}')";
    let refused = db.client.execute(sql, &[]).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!((refused.code().code(), refused.message()), ("PB001", "channel \"smz\" is not declared"));
    assert!(refused.hint().unwrap().starts_with("Did you mean \"sms\"?"), "{refused:?}");

    let refused = db.client.execute("select pubsub.publish('zebra', '{}')", &[]).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert!(refused.hint().unwrap().starts_with("A channel is declared by"), "no name is alike: {refused:?}");
}

#[actix::test]
async fn an_oversize_payload_is_refused_and_the_transaction_goes_on() {
    let mut db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let _pubsub = db
        .pubsub()
        .subscribe_fn("one", sending(sender, |sms: Delivery<Sms>| sms.msg.len()))
        .start()
        .await
        .unwrap();

    let mut transaction = db.client.transaction().await.unwrap();
    publish(&transaction, &Sms::new("small")).await.unwrap();
    let savepoint = transaction.savepoint("large").await.unwrap();
    let refused = publish(&savepoint, &Sms::new("x".repeat(300 * 1024))).await.unwrap_err();
    assert!(matches!(refused, Error::PayloadTooLarge { .. }), "{refused:?}");
    let said = "a payload of 307211 bytes is over the limit of 262144 bytes of channel \"sms\"";
    assert_eq!(refused.to_string(), said);
    savepoint.rollback().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(received.next().await, 5);

    // Just below the limit, whether it compresses or not.
    publish(&db.client, &Sms::new("x".repeat(262_144 - 11))).await.unwrap();
    assert_eq!(received.next().await, 262_144 - 11);
    let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(262_144 - 11).collect();
    publish(&db.client, &Sms::new(&random)).await.unwrap();
    assert_eq!(received.next().await, 262_144 - 11);
    publish(&db.client, &Sms::new(random + "!")).await.unwrap_err();
}

#[actix::test]
async fn each_channel_has_its_own_payload_limit() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    db.client.execute("update pubsub.channels set max_payload_bytes = 40", &[]).await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("short enough")).await.unwrap();
    let refused = pubsub::publish(&pubsub, &Sms::new("x".repeat(40))).await.unwrap_err();
    assert!(matches!(refused, Error::PayloadTooLarge { .. }), "{refused:?}");
}

#[actix::test]
async fn nul_and_deep_nesting_are_refused_before_the_database() {
    // Without the derive, because a second derived type for one channel does not compile.
    #[derive(Serialize, Deserialize)]
    struct Anything(serde_json::Value);

    impl Channel for Anything {
        const NAME: &'static str = "sms";
    }

    let mut db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let transaction = db.client.transaction().await.unwrap();
    let refused = publish(&transaction, &Sms::new("a\0b")).await.unwrap_err();
    assert_eq!(refused.to_string(), "the payload cannot be published on channel `sms`");
    assert!(
        refused.source().unwrap().to_string().contains("NUL character (\\u0000) at byte 9"),
        "{refused:?}"
    );

    let deep = (0..100).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    let refused = publish(&transaction, &Anything(deep)).await.unwrap_err();
    assert!(refused.source().unwrap().to_string().contains("deeper than 64 levels"), "{refused:?}");

    publish(&transaction, &Sms::new("the transaction is still usable")).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 1);
}

#[actix::test]
async fn a_nul_published_by_sql_is_an_error_of_the_database() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let sql = r#"insert into pubsub.db_events (channel, payload) values ('sms', '{"msg": "a\u0000b"}')"#;
    let refused = db.client.batch_execute(sql).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "22P05");
}

#[actix::test]
async fn an_undecodable_payload_is_parked_and_the_others_are_handled() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    let deep = format!("{}1{}", "[".repeat(500), "]".repeat(500));
    for payload in [r#"{"msg": 7}"#, "{}", "null", "\"text\"", "[]", deep.as_str(), r#"{"msg": "fine"}"#] {
        let sql = "insert into pubsub.db_events (channel, payload) values ('sms', $1::text::jsonb)";
        db.client.execute(sql, &[&payload]).await.unwrap();
    }
    assert_eq!(received.next().await, "fine");
    db.until_count(
        "select count(*) from pubsub.dead_letters where reason = 'undecodable' and attempt = 1",
        6,
    )
    .await;
    db.until_settled().await;
    let error: String = db
        .client
        .query_one("select error from pubsub.dead_letters order by event_id limit 1", &[])
        .await
        .unwrap()
        .get(0);
    assert!(error.contains("at line 1 column 9: expected a string"), "{error}");
}

#[actix::test]
async fn headers_of_any_shape_are_readable() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let _pubsub = db
        .pubsub()
        .subscribe_fn("one", sending(sender, |sms: Delivery<Sms>| sms.headers()))
        .start()
        .await
        .unwrap();
    let sql = r#"select pubsub.publish('sms', '{"msg": "x"}', headers => '{"text": "a", "number": 7, "nested": {"b": []}}')"#;
    db.client.batch_execute(sql).await.unwrap();
    let expected = [("nested", r#"{"b":[]}"#), ("number", "7"), ("text", "a")];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(received.next().await.into_iter().collect::<Vec<_>>(), expected);
    let sql = r#"select pubsub.publish('sms', '{"msg": "x"}', headers => '[]')"#;
    let refused = db.client.batch_execute(sql).await.unwrap_err();
    assert!(refused.as_db_error().unwrap().message().contains("db_events_headers_check"), "{refused:?}");
}

#[actix::test]
async fn a_key_too_long_for_an_index_is_refused_on_publish() {
    let db = TestDatabase::new().await;
    db.client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    let longest = "select pubsub.publish('sms', '{}', key => repeat('k', 1024))";
    db.client.batch_execute(longest).await.unwrap();
    let alone = "select pubsub.publish('sms', '{}', key => repeat('k', 1025))";
    let among_others = "insert into pubsub.db_events (channel, key, payload)
                        select 'sms', repeat('k', 1020 + n), '{}' from generate_series(1, 5) n";
    for sql in [alone, among_others] {
        let refused = db.client.batch_execute(sql).await.unwrap_err();
        assert!(refused.as_db_error().unwrap().message().contains("db_events_key_check"), "{refused:?}");
    }
}

#[actix::test]
async fn times_that_would_break_the_maintenance_are_refused() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    for call in ["set_retention('sms'", "set_dedupe_window('sms'", "set_unread_limit('sms', 'one'"] {
        for time in ["36501 days", "300000 years", "-1 second"] {
            let refused =
                db.client.batch_execute(&format!("select pubsub.{call}, '{time}')")).await.unwrap_err();
            assert_eq!(refused.code().unwrap().code(), "23514", "{call}, {time}");
        }
        for time in ["null", "'36500 days'"] {
            db.client.batch_execute(&format!("select pubsub.{call}, {time})")).await.unwrap();
        }
    }
    for call in [
        "reclaim('0')",
        "reclaim('-1 second')",
        "reclaim(null)",
        "reclaim('300000 years')",
        "tidy(silence => '0')",
    ] {
        let refused = db.client.batch_execute(&format!("select pubsub.{call}")).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "22023", "{call}");
    }
    assert_eq!(db.count("select count(*) from pubsub.processes").await, 1, "nobody was declared dead");
    db.client.batch_execute("select pubsub.tidy(); select pubsub.skip_ids()").await.unwrap();
}

#[actix::test]
async fn null_stands_for_the_default_of_a_flag_or_a_number() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    let one = SqlSubscriber::register(client, "one").await.unwrap();
    client.batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 3)").await.unwrap();
    assert_eq!(one.drain(10).await.unwrap().len(), 3);
    client.batch_execute("select pubsub.seek('sms', 'one', 'beginning', dry_run => null)").await.unwrap();
    let replayed = one.claim(10).await.unwrap();
    assert_eq!(replayed.iter().filter(|event| event.replay).count(), 3, "the subscription was moved");

    client.batch_execute("set statement_timeout = '20 s'").await.unwrap();
    client.batch_execute("select pubsub.ensure_partitions(null)").await.unwrap();
    for call in ["unsubscribe('sms', 'one', null)", "drop_channel('sms', null)"] {
        let refused = client.batch_execute(&format!("select pubsub.{call}")).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "PB009", "{call}");
    }
}

#[actix::test]
async fn arguments_at_their_limits_are_taken_as_they_are_meant() {
    let db = TestDatabase::numbered().await;
    let client = &db.client;
    for sql in
        ["declare_channel('sms')", "subscribe('sms', 'one', lanes => 4)", "register_process('h', 1, 'v')"]
    {
        client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    client.batch_execute("select pubsub.claim(1, 1, 1)").await.unwrap();
    client
        .batch_execute("select pubsub.publish('sms', '{}', n::text) from generate_series(1, 20) n")
        .await
        .unwrap();
    let claim = format!("select count(*) from pubsub.claim(1, 1, {})", i32::MAX);
    assert_eq!(db.count(&claim).await, 20, "as many as there are");
    assert_eq!(db.count("select pubsub.return_unknown(1, 1, null)").await, 20, "nothing is known");
    // A delay beyond the end of time would park the delivery, and one before now would overtake others.
    for (delay, due) in
        [("100000 years", "> now() + '99 years'"), ("-1 year", "> now() - interval '1 minute'")]
    {
        let claimed =
            client.query_one("select token, id from pubsub.claim_mailbox(1, 1, 1)", &[]).await.unwrap();
        let (token, id): (i64, i64) = (claimed.get(0), claimed.get(1));
        let settle = format!(
            r#"select pubsub.settle(1, {token}, null, '[{{"id": {id}, "action": "snooze", "delay": "{delay}"}}]')"#
        );
        client.batch_execute(&settle).await.unwrap();
        let found = format!(
            "select count(*) from pubsub.mailbox where event_id = {id} and due_at < 'infinity' and due_at {due}"
        );
        assert_eq!(db.count(&found).await, 1, "{delay}");
    }
}
