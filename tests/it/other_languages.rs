//! Other languages publish with a plain insert, and subscribe with the SQL functions.

use pubsub::Delivery;
use pubsub_tests::{Sms, TestDatabase};

#[actix::test]
async fn a_plain_insert_from_psql_is_handled() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    // The insert as the demo writes it, with the search path that its URL sets.
    db.client.batch_execute("set search_path = public, pubsub").await.unwrap();
    let seed = r#"INSERT INTO db_events (channel, payload) VALUES ('sms', '{ "msg": "yoloooo!" }')"#;
    db.client.batch_execute(seed).await.unwrap();
    assert_eq!(received.next().await, "yoloooo!");
    db.client.batch_execute(r#"select pubsub.publish('sms', '{"msg": "by function"}')"#).await.unwrap();
    assert_eq!(received.next().await, "by function");
}

#[actix::test]
async fn a_rolled_back_insert_is_never_delivered() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    let insert = |msg| {
        format!(r#"insert into pubsub.db_events (channel, payload) values ('sms', '{{"msg": "{msg}"}}')"#)
    };
    db.client.batch_execute(&format!("begin; {}; rollback", insert("rolled back"))).await.unwrap();
    db.client.batch_execute(&format!("begin; {}; commit", insert("committed"))).await.unwrap();
    assert_eq!(received.next().await, "committed");
    db.until_settled().await;
    assert!(received.rest().is_empty());
}

#[actix::test]
async fn a_plain_sql_subscriber_shares_a_subscription_with_rust() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().subscribe_fn("one", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(std::time::Duration::from_secs(10)).await);
    pubsub::publish_all(&db.client, &["a", "b", "c"].map(Sms::new)).await.unwrap();

    let process = db.count("select pubsub.register_process('host', 1, 'other')").await;
    let claimed = db
        .client
        .query("select token, id, payload ->> 'msg' from pubsub.claim(1, $1, 2)", &[&process])
        .await
        .unwrap();
    assert_eq!(claimed.iter().map(|row| row.get::<_, String>(2)).collect::<Vec<_>>(), ["a", "b"]);
    let (token, a, b): (i64, i64, i64) = (claimed[0].get(0), claimed[0].get(1), claimed[1].get(1));
    let failed = format!(r#"[{{"id": {b}, "action": "retry", "delay": "1 ms", "error": "no"}}]"#);
    let settled: bool = db
        .client
        .query_one(
            "select pubsub.settle($1, $2, $3, $4::text::jsonb)",
            &[&process, &token, &vec![a], &failed],
        )
        .await
        .unwrap()
        .get(0);
    assert!(settled);

    let (_pubsub, mut received) = db.receive_attempts("one").await;
    let mut received = received.take(2).await;
    received.sort_unstable();
    assert_eq!(received, [("b".to_owned(), 2), ("c".to_owned(), 1)]);
}

#[actix::test]
async fn an_unknown_action_is_refused() {
    let db = TestDatabase::new().await;
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one')", "publish('sms', '{}')"] {
        db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    db.client.batch_execute("select pubsub.register_process('host', 1, 'other')").await.unwrap();
    db.client.query("select * from pubsub.claim(1, 1, 1)", &[]).await.unwrap();
    let refused = db
        .client
        .batch_execute(r#"select pubsub.settle(1, 1, null, '[{"id": 1, "action": "rety"}]')"#)
        .await
        .unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().message(), "\"rety\" is not an action of a disposition");
    assert_eq!(db.count("select count(*) from pubsub.leases").await, 1, "and nothing was written");
}
