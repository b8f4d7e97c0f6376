//! `pubsub.settle_in` beside the other ways out of a lease.

use pubsub::testing::Database;
use pubsub_tests::{SqlSubscriber, TestDatabase, connect};
use tokio_postgres::Client;

/// Settles an event in the client's transaction.
async fn settle_in(client: &Client, one: &SqlSubscriber<'_>, token: i64, id: i64) -> Result<(), String> {
    let settled = client.query("select pubsub.settle_in($1, $2, $3)", &[&one.process, &token, &id]).await;
    settled.map(drop).map_err(|error| error.code().expect("an answer of the server").code().to_owned())
}

async fn execute(client: &Client, sql: &str) -> Result<(), String> {
    let done = client.batch_execute(sql).await;
    done.map_err(|error| error.code().expect("an answer of the server").code().to_owned())
}

/// A subscriber that has claimed so many events under one lease.
async fn claimed(db: &TestDatabase, events: i32) -> (SqlSubscriber<'_>, i64, Vec<i64>) {
    claimed_through(&db.client, events).await
}

async fn claimed_through(client: &Client, events: i32) -> (SqlSubscriber<'_>, i64, Vec<i64>) {
    let one = SqlSubscriber::register(client, "one").await.unwrap();
    let publish = format!("select pubsub.publish('sms', '{{}}') from generate_series(1, {events})");
    client.batch_execute(&publish).await.unwrap();
    let claimed = one.claim(events).await.unwrap();
    assert_eq!(claimed.len(), events as usize);
    (one, claimed[0].token, claimed.iter().map(|event| event.id).collect())
}

async fn take_over(db: &TestDatabase, process: i64) -> i64 {
    db.count(&format!("select pubsub.end_process({process}, 'crash', 'it died')")).await
}

async fn in_mailbox(db: &TestDatabase) -> Vec<i64> {
    let ids = "select event_id from pubsub.mailbox where token is null order by event_id";
    db.client.query(ids, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// A frozen process keeps its transactions open. Its deliveries run elsewhere, and its commits fail.
#[actix::test]
async fn an_open_transaction_does_not_hold_up_a_takeover() {
    let db = TestDatabase::new().await;
    let (one, token, ids) = claimed(&db, 3).await;
    let handler = connect(db.url()).await;
    handler.batch_execute("begin").await.unwrap();
    settle_in(&handler, &one, token, ids[0]).await.unwrap();
    assert_eq!(take_over(&db, one.process).await, 3);
    assert_eq!(in_mailbox(&db).await, ids);
    assert_eq!(execute(&handler, "commit").await, Err("PB010".into()));
    assert_eq!(settle_in(&handler, &one, token, ids[1]).await, Err("PB010".into()));
    assert_eq!(db.count("select count(*) from pubsub.settled").await, 0);
}

#[actix::test]
async fn a_takeover_leaves_alone_what_is_settled() {
    let db = TestDatabase::new().await;
    let (one, token, ids) = claimed(&db, 4).await;
    for id in &ids[..2] {
        settle_in(&db.client, &one, token, *id).await.unwrap();
    }
    assert_eq!(take_over(&db, one.process).await, 2, "of four");
    assert_eq!(in_mailbox(&db).await, ids[2..]);
    // The same for a lease from the mailbox, and for one that its process has lost sight of.
    db.client.batch_execute("update pubsub.mailbox set crashes = 0").await.unwrap();
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let token = one.claim_mailbox(4).await.unwrap()[0].token;
    settle_in(&db.client, &one, token, ids[2]).await.unwrap();
    let returned = format!("select pubsub.return_unknown({}, {}, '{{}}')", one.subscription, one.process);
    assert_eq!(db.count(&returned).await, 1);
    assert_eq!(in_mailbox(&db).await, ids[3..]);
    let token = one.claim_mailbox(4).await.unwrap()[0].token;
    settle_in(&db.client, &one, token, ids[3]).await.unwrap();
    assert_eq!(take_over(&db, one.process).await, 0);
    let left = "select (select count(*) from pubsub.mailbox) + (select count(*) from pubsub.settled) \
                     + (select count(*) from pubsub.leases) + (select count(*) from pubsub.dead_letters)";
    assert_eq!(db.count(left).await, 0);
}

/// A process may die after the commit. The events behind the settled one, of its key, must not wait for ever.
#[actix::test]
async fn a_takeover_frees_the_key_of_what_is_settled() {
    let db = TestDatabase::new().await;
    for sql in [
        "declare_channel('sms')",
        "subscribe('sms', 'one', lanes => 2)",
        "publish('sms', '{}', 'key') from generate_series(1, 2)",
    ] {
        db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let first = one.claim(1).await.unwrap()[0];
    one.fail(first.token, first.id).await.unwrap();
    assert_eq!(one.claim(1).await.unwrap(), [], "the second event is parked behind the first");
    let again = one.claim_mailbox(2).await.unwrap();
    assert_eq!(again.len(), 1);
    settle_in(&db.client, &one, again[0].token, again[0].id).await.unwrap();
    let parked = "select count(*) from pubsub.mailbox where due_at = 'infinity'";
    assert_eq!(db.count(parked).await, 1);
    take_over(&db, one.process).await;
    assert_eq!(db.count(parked).await, 0);
    assert_eq!(in_mailbox(&db).await.len(), 1);
}

#[actix::test]
async fn a_delivery_is_settled_in_one_transaction_only() {
    let db = TestDatabase::new().await;
    let (one, token, ids) = claimed(&db, 3).await;
    let [first, second] = [connect(db.url()).await, connect(db.url()).await];
    first.batch_execute("begin").await.unwrap();
    settle_in(&first, &one, token, ids[0]).await.unwrap();
    let waits = async {
        let settled = settle_in(&second, &one, token, ids[0]).await;
        assert_eq!(settled, Err("PB010".into()));
    };
    let commits = async {
        db.until_waiting(1).await;
        first.batch_execute("commit").await.unwrap();
    };
    tokio::join!(waits, commits);
    // A settlement that does not know of it changes nothing, and ends the lease with its row.
    for id in [ids[0], ids[1]] {
        one_fails(&db, &one, token, id).await;
    }
    assert_eq!(in_mailbox(&db).await, [ids[1]]);
    assert_eq!(settle_in(&first, &one, token, ids[1]).await, Err("PB010".into()), "it has failed");
    assert!(one.settle(token).await.unwrap());
    assert_eq!(db.count("select count(*) from pubsub.settled").await, 0);
    for (process, token, id) in [(one.process + 1, token, ids[2]), (one.process, token + 1, ids[2])] {
        let other = format!("select pubsub.settle_in({process}, {token}, {id})");
        assert_eq!(execute(&first, &other).await, Err("PB010".into()));
    }
}

async fn one_fails(db: &TestDatabase, one: &SqlSubscriber<'_>, token: i64, id: i64) {
    let fail = format!(
        r#"select pubsub.settle({}, {token}, '{{}}', '[{{"id": {id}, "action": "retry"}}]')"#,
        one.process
    );
    db.client.batch_execute(&fail).await.unwrap();
}

/// A handler may have timed out, and go on all the same. The lease still stands, for its other events.
#[actix::test]
async fn a_late_commit_does_not_settle_what_its_process_gave_up() {
    let db = TestDatabase::new().await;
    let (one, token, ids) = claimed(&db, 2).await;
    let handler = connect(db.url()).await;
    handler.batch_execute("begin").await.unwrap();
    settle_in(&handler, &one, token, ids[0]).await.unwrap();
    one_fails(&db, &one, token, ids[0]).await;
    assert_eq!(execute(&handler, "commit").await, Err("PB010".into()));
    assert_eq!(in_mailbox(&db).await, ids[..1]);
    assert!(one.settle(token).await.unwrap());
}

/// The caller may end the lease in the same transaction.
#[actix::test]
async fn a_transaction_may_settle_one_event_and_then_the_lease() {
    let db = TestDatabase::new().await;
    let (one, token, ids) = claimed(&db, 2).await;
    db.client.batch_execute("begin").await.unwrap();
    settle_in(&db.client, &one, token, ids[0]).await.unwrap();
    let settle = format!(
        "select pubsub.settle({}, {token}, '{{{}, {}}}')::integer::bigint",
        one.process, ids[0], ids[1]
    );
    assert_eq!(db.count(&settle).await, 1);
    db.client.batch_execute("commit").await.unwrap();
    let left = "select (select count(*) from pubsub.leases) + (select count(*) from pubsub.settled)";
    assert_eq!(db.count(left).await, 0);
}

/// An acknowledgement of a whole lease that names nothing leaves a row behind, which means nothing.
#[actix::test]
async fn rows_without_a_lease_go_when_a_process_starts() {
    let db = TestDatabase::new().await;
    let (one, token, ids) = claimed(&db, 2).await;
    settle_in(&db.client, &one, token, ids[0]).await.unwrap();
    assert!(one.settle(token).await.unwrap());
    let rows = "select count(*) from pubsub.settled";
    assert_eq!(db.count(rows).await, 1);
    let (one, token, ids) = claimed(&db, 1).await;
    settle_in(&db.client, &one, token, ids[0]).await.unwrap();
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    let left = format!("select count(*) from pubsub.settled where token = {token}");
    assert_eq!(
        (db.count(rows).await, db.count(&left).await),
        (1, 1),
        "only that of the living lease is left"
    );
}

/// Under the stricter isolation levels, too, a lost lease is an error.
#[actix::test]
async fn every_isolation_level_refuses_a_lost_lease() {
    for (level, refused) in
        [("read committed", "PB010"), ("repeatable read", "40001"), ("serializable", "40001")]
    {
        let db = TestDatabase::new().await;
        let (one, token, ids) = claimed(&db, 2).await;
        let handler = connect(db.url()).await;
        handler.batch_execute(&format!("begin isolation level {level}")).await.unwrap();
        settle_in(&handler, &one, token, ids[0]).await.unwrap();
        take_over(&db, one.process).await;
        assert_eq!(execute(&handler, "commit").await, Err(refused.into()), "{level}");
        assert_eq!(in_mailbox(&db).await, ids, "{level}");
    }
}

/// A program with two databases may mistake one transaction for another. The numbers of two young databases are much the same.
#[actix::test]
async fn another_database_refuses_to_settle_the_delivery() {
    let (here, elsewhere) = (Database::empty().await.unwrap(), Database::empty().await.unwrap());
    for database in [&here, &elsewhere] {
        pubsub::migrate(database.url()).await.unwrap();
    }
    let (here, elsewhere) = (connect(here.url()).await, connect(elsewhere.url()).await);
    let (one, token, ids) = claimed_through(&here, 2).await;
    let (_, other_token, other_ids) = claimed_through(&elsewhere, 2).await;
    assert_eq!((token, &ids), (other_token, &other_ids), "only the process tells them apart");
    assert_eq!(settle_in(&elsewhere, &one, token, ids[0]).await, Err("PB010".into()));
    settle_in(&here, &one, token, ids[0]).await.unwrap();
}
