//! Subscriptions and channels can be removed without touching any other row.

use crate::retention::TrimmedLog;
use pubsub::{Delivery, Error, PubSub, Subscription};
use pubsub_tests::{ChildProcess, Sms, SqlSubscriber, TestDatabase, connect, in_child_process};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error as DatabaseError};

/// The SQLSTATE of an error of the database.
fn code(error: &DatabaseError) -> &str {
    error.code().map_or("none", |code| code.code())
}

/// Unsubscribes, and returns the numbers of removed events: unread, leased, in the mailbox, and dead letters.
async fn unsubscribe(client: &Client, name: &str, force: bool) -> Result<[i64; 4], DatabaseError> {
    let row = client.query_one("select * from pubsub.unsubscribe('sms', $1, $2)", &[&name, &force]).await?;
    Ok([row.get(0), row.get(1), row.get(2), row.get(3)])
}

async fn publish(client: &Client, events: i32) {
    let sql = "select pubsub.publish('sms', '{\"msg\": \"hello\"}') from generate_series(1, $1)";
    client.query(sql, &[&events]).await.unwrap();
}

/// Counts the rows of a subscription in all tables.
fn rows_of(subscription: i32) -> String {
    let tables = ["cursors", "lanes", "runners", "leases", "mailbox", "dead_letters", "waiters", "replays"];
    let counts = tables
        .map(|table| format!("(select count(*) from pubsub.{table} where subscription = {subscription})"))
        .join(" + ");
    format!("select {counts}")
}

#[actix::test]
async fn a_subscription_in_use_is_kept_unless_forced() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    let one = SqlSubscriber::register(client, "one").await.unwrap();
    let two = SqlSubscriber::register(client, "two").await.unwrap();
    publish(client, 6).await;
    let claimed = one.claim(4).await.unwrap();
    let answer = r#"[{"id": 1, "action": "retry", "delay": "1 hour"}, {"id": 2, "action": "reject"}]"#;
    let settle = format!("select pubsub.settle($1, $2, '{{}}', '{answer}')");
    client.execute(&settle, &[&one.process, &claimed[0].token]).await.unwrap();
    client
        .execute("select pubsub.start_waiting($1, $2, '1 minute')", &[&one.subscription, &one.process])
        .await
        .unwrap();
    client
        .execute("select pubsub.start_waiting($1, $2, '1 minute')", &[&two.subscription, &two.process])
        .await
        .unwrap();
    let rows_of_two = db.count(&rows_of(two.subscription)).await;

    let refused = unsubscribe(client, "one", false).await.unwrap_err();
    assert_eq!(code(&refused), "PB009");
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.message(), "subscription \"one\" of channel \"sms\" is in use");
    let detail = "Processes that run it: 1. Events: 2 unread, 2 leased, 1 in the mailbox, 1 dead letters.";
    assert_eq!(refused.detail(), Some(detail));
    assert_eq!(unsubscribe(client, "one", true).await.unwrap(), [2, 2, 1, 1]);
    assert_eq!(db.count(&rows_of(one.subscription)).await, 0);
    assert_eq!(
        db.count(&rows_of(two.subscription)).await,
        rows_of_two,
        "the rows of other subscriptions are untouched"
    );
    assert_eq!(two.claim(10).await.unwrap().len(), 6);

    assert_eq!(code(&unsubscribe(client, "one", true).await.unwrap_err()), "PB004", "it is gone");
    assert_eq!(code(&one.claim(10).await.unwrap_err()), "PB004", "its process gets an error");
    assert!(!one.settle(claimed[0].token).await.unwrap(), "its leases are gone");
    assert_eq!(db.count(&format!("select pubsub.leave({})", one.process)).await, 0);
}

#[actix::test]
async fn a_tool_removes_a_subscription() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = db.receive("one").await;
    pubsub::publish(&db.client, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.next().await, "hello");
    db.until_count("select count(*) from pubsub.waiters where not is_awake", 1).await;
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    let refused = one.unsubscribe().await.unwrap_err();
    assert_eq!(refused.code(), "PB009", "a process runs it");
    assert!(pubsub.drain(Duration::from_secs(10)).await);
    let removed = one.unsubscribe().await.unwrap();
    assert_eq!((removed.unread, removed.leased, removed.waiting, removed.dead_letters), (0, 0, 0, 0));
    assert!(matches!(one.unsubscribe().await, Err(Error::UnknownSubscription { .. })));

    SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish(&db.client, 2).await;
    assert_eq!(one.force_unsubscribe().await.unwrap().unread, 2);
}

#[actix::test]
async fn a_subscription_without_work_is_removed() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish(&db.client, 3).await;
    let claimed = one.claim(3).await.unwrap();
    assert!(one.settle(claimed[0].token).await.unwrap());
    assert_eq!(unsubscribe(&db.client, "one", false).await.unwrap(), [0; 4]);
    assert_eq!(db.count("select count(*) from pubsub.subscriptions").await, 0);
}

#[actix::test]
async fn a_new_subscription_of_the_same_name_begins_afresh() {
    let db = TestDatabase::new().await;
    let first = SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish(&db.client, 3).await;
    let claimed = first.claim(1).await.unwrap();
    unsubscribe(&db.client, "one", true).await.unwrap();
    let again = SqlSubscriber::register(&db.client, "one").await.unwrap();
    assert_ne!(again.subscription, first.subscription);
    assert!(again.claim(10).await.unwrap().is_empty(), "it begins with the events after it");
    publish(&db.client, 1).await;
    let fresh = again.claim(10).await.unwrap();
    assert_eq!(fresh.len(), 1);
    assert!(fresh[0].token > claimed[0].token);
    assert!(!first.settle(claimed[0].token).await.unwrap(), "an old lease settles nothing of the new one");
}

#[actix::test]
async fn the_log_does_not_wait_for_a_removed_subscription() {
    let log = TrimmedLog::new().await;
    let (db, client) = (&log.db, &log.db.client);
    let one = SqlSubscriber::register(client, "one").await.unwrap();
    publish(client, 3).await;
    one.claim(1).await.unwrap();
    // The partition is full, and nobody can write to it.
    client
        .batch_execute(
            "select setval('pubsub.db_events_id_seq', (select min(end_id) from pubsub.partitions))",
        )
        .await
        .unwrap();
    let end = db.count("select min(end_id) from pubsub.partitions").await;
    log.until_sealed(end).await;
    let removable = "select count(*) from pubsub.removal_steps()";
    assert_eq!(db.count(removable).await, 0, "the log waits for its subscription");
    unsubscribe(client, "one", true).await.unwrap();
    assert_eq!(db.count(removable).await, 1);
}

#[actix::test]
async fn claims_and_settlements_beside_the_removal_lose_nothing() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    let (claiming, settling) = (connect(db.url()).await, connect(db.url()).await);
    let one = SqlSubscriber::register(client, "one").await.unwrap();
    let two = SqlSubscriber::register(client, "two").await.unwrap();
    publish(client, 4).await;

    // The removal waits for an open claim, and removes its lease.
    claiming.batch_execute("begin").await.unwrap();
    let claim = "select token from pubsub.claim($1, $2, 1)";
    claiming.query_one(claim, &[&one.subscription, &one.process]).await.unwrap();
    let removing = connect(db.url()).await;
    let removal = tokio::task::spawn_local(async move { unsubscribe(&removing, "one", true).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!removal.is_finished(), "it waits for the claim");
    claiming.batch_execute("commit").await.unwrap();
    assert_eq!(removal.await.unwrap().unwrap(), [3, 1, 0, 0]);

    // The removal also waits for an open settlement, and removes its dead letter.
    let token = two.claim(2).await.unwrap()[0].token;
    settling.batch_execute("begin").await.unwrap();
    let settle = r#"select pubsub.settle($1, $2, null, '[{"id": 1, "action": "reject"}]')"#;
    settling.execute(settle, &[&two.process, &token]).await.unwrap();
    let removing = connect(db.url()).await;
    let removal = tokio::task::spawn_local(async move { unsubscribe(&removing, "two", true).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!removal.is_finished(), "it waits for the settlement");
    settling.batch_execute("commit").await.unwrap();
    assert_eq!(removal.await.unwrap().unwrap(), [2, 0, 0, 1]);
    for subscription in [one.subscription, two.subscription] {
        assert_eq!(db.count(&rows_of(subscription)).await, 0);
    }
}

/// Runs two subscriptions and reports its log.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_runs_two_subscriptions() {
    let Some((url, report)) = in_child_process() else { return };
    crate::tracing_fields::log_to(report);
    let done = |_: Delivery<Sms>| async { Ok(()) };
    let builder = PubSub::builder(url).subscribe_fn("suspended", done).subscribe_fn("removed", done);
    let _pubsub = builder.start().await.unwrap();
    std::future::pending::<()>().await;
}

#[actix::test]
async fn refused_subscriptions_back_off_and_are_reported_once() {
    let db = TestDatabase::new().await;
    let child = ChildProcess::start("unsubscribe::child_runs_two_subscriptions", db.url());
    db.until_count("select count(*) from pubsub.waiters where not is_awake", 2).await;
    unsubscribe(&db.client, "removed", true).await.unwrap();
    let suspend = "update pubsub.subscriptions set suspended_at = clock_timestamp() where name = 'suspended'";
    db.client.batch_execute(suspend).await.unwrap();
    pubsub::publish(&db.client, &Sms::new("unread")).await.unwrap();
    let (mut waiting, mut warnings, mut failures) = (BTreeSet::from(["suspended", "removed"]), Vec::new(), 0);
    while !waiting.is_empty() {
        let line = child.next().await;
        if !line.contains("events cannot be claimed") {
            continue;
        }
        let subscription = if line.contains("\"removed\"") { "removed" } else { "suspended" };
        failures += 1;
        if line.contains("WARN") {
            warnings.push(subscription);
        }
        // A pause of more than a second has no milliseconds as its unit.
        let wait = line.split("wait=").nth(1).unwrap().split_whitespace().next().unwrap();
        if !wait.ends_with("ms") {
            waiting.remove(subscription);
        }
    }
    // Each kind of claim doubles its own pauses: 50 ms become a second with the sixth failure.
    assert!(failures <= 2 * 3 * 7, "{failures} failures");
    warnings.sort_unstable();
    assert_eq!(warnings, ["removed", "suspended"], "each is reported once");
}

#[actix::test]
async fn an_ordered_subscription_is_removed_with_its_lanes() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    let one = SqlSubscriber::register(client, "one").await.unwrap();
    client.batch_execute("select pubsub.subscribe('sms', 'one', lanes => 4)").await.unwrap();
    assert!(one.claim(10).await.unwrap().is_empty());
    client
        .batch_execute("select pubsub.publish('sms', '{}', 'key') from generate_series(1, 3)")
        .await
        .unwrap();
    let claimed = one.claim(10).await.unwrap();
    let answer = r#"[{"id": 1, "action": "retry", "delay": "1 hour"}, {"id": 2, "action": "return"}, {"id": 3, "action": "return"}]"#;
    let settle = format!("select pubsub.settle($1, $2, '{{}}', '{answer}')");
    client.execute(&settle, &[&one.process, &claimed[0].token]).await.unwrap();
    assert_eq!(
        db.count("select count(*) from pubsub.mailbox where due_at = 'infinity'").await,
        2,
        "two events are parked"
    );
    assert_eq!(unsubscribe(client, "one", true).await.unwrap(), [0, 0, 3, 0]);
    assert_eq!(db.count(&rows_of(one.subscription)).await, 0);
}

#[actix::test]
async fn an_older_snapshot_cannot_unsubscribe() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    db.client.batch_execute("begin isolation level repeatable read").await.unwrap();
    assert_eq!(code(&unsubscribe(&db.client, "one", true).await.unwrap_err()), "PB003");
}

#[actix::test]
async fn a_channel_is_dropped_with_its_events_and_keys() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    SqlSubscriber::register(client, "one").await.unwrap();
    for sql in [
        "declare_channel('email')",
        "subscribe('email', 'other')",
        "declare_version('sms', 1, 17)",
        "declare_schema('sms', 1, '{}')",
        "publish_once('sms', '{}', 'a key')",
        "publish('email', '{}')",
    ] {
        client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    publish(client, 2).await;
    let drop_channel = async |force: bool| {
        let row = client.query_one("select * from pubsub.drop_channel('sms', $1)", &[&force]).await?;
        Ok::<[i64; 2], DatabaseError>([row.get(0), row.get(1)])
    };
    assert_eq!(code(&drop_channel(false).await.unwrap_err()), "PB009", "it has a subscription");
    assert_eq!(drop_channel(true).await.unwrap(), [1, 3]);
    assert_eq!(code(&drop_channel(true).await.unwrap_err()), "PB001", "it is gone");
    let refused = client.batch_execute("select pubsub.publish('sms', '{}')").await.unwrap_err();
    assert_eq!(code(&refused), "PB001");
    assert_eq!(db.count("select count(*) from pubsub.db_events where channel = 'email'").await, 1);
    assert_eq!(db.count("select count(*) from pubsub.subscriptions").await, 1);

    let one = SqlSubscriber::register(client, "one").await.unwrap();
    let again = db.count("select id from pubsub.publish_once('sms', '{}', 'a key')").await;
    assert!(again > 4, "{again}: the key is free again");
    assert_eq!(one.claim(10).await.unwrap().len(), 1);
}

#[actix::test]
async fn publishers_finish_before_their_channel_is_dropped() {
    let db = TestDatabase::new().await;
    db.client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    let publisher = connect(db.url()).await;
    publisher.batch_execute("begin; select pubsub.publish('sms', '{}')").await.unwrap();
    let dropping = connect(db.url()).await;
    let dropped = tokio::task::spawn_local(async move {
        dropping.query_one("select events from pubsub.drop_channel('sms')", &[]).await
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!dropped.is_finished(), "it waits for the publisher");
    let late = connect(db.url()).await;
    let late =
        tokio::task::spawn_local(
            async move { late.batch_execute("select pubsub.publish('sms', '{}')").await },
        );
    tokio::time::sleep(Duration::from_millis(100)).await;
    publisher.batch_execute("commit").await.unwrap();
    assert_eq!(dropped.await.unwrap().unwrap().get::<_, i64>(0), 1);
    assert_eq!(code(&late.await.unwrap().unwrap_err()), "PB001", "a later publisher finds no channel");
}

#[actix::test]
async fn late_publishers_leave_no_event_without_a_channel() {
    const LATE: [(&str, &str, &str); 5] = [
        (
            "read committed",
            "insert into pubsub.db_events (channel, payload) values ('sms', '1'), ('sms', '2')",
            "PB001",
        ),
        ("read committed", "select pubsub.publish_all_once('sms', '{1, 2}', '{a, b}')", "PB001"),
        ("read committed", "select pubsub.publish_once('sms', '{}', 'a')", "PB001"),
        ("repeatable read", "select pubsub.publish('sms', '{}')", "40001"),
        ("serializable", "select pubsub.publish_all_once('sms', '{1, 2}', '{a, b}')", "40001"),
    ];
    let db = TestDatabase::new().await;
    for (isolation, publish, expected) in LATE {
        db.client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
        let late = connect(db.url()).await;
        late.batch_execute(&format!("begin isolation level {isolation}; select from pubsub.channels"))
            .await
            .unwrap();
        db.client.batch_execute("begin; select pubsub.drop_channel('sms')").await.unwrap();
        let late = tokio::task::spawn_local(async move {
            late.batch_execute(publish).await?;
            late.batch_execute("commit").await
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!late.is_finished(), "it waits for the removal: {publish}");
        db.client.batch_execute("commit").await.unwrap();
        assert_eq!(code(&late.await.unwrap().unwrap_err()), expected, "{publish}");
        assert_eq!(db.count("select count(*) from pubsub.db_events").await, 0, "{publish}");
        assert_eq!(db.count("select count(*) from pubsub.dedupe_keys").await, 0, "{publish}");
    }
}

#[actix::test]
async fn a_stale_snapshot_can_publish_beside_changes_of_the_channel() {
    let db = TestDatabase::new().await;
    db.client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    let stale = connect(db.url()).await;
    stale.batch_execute("begin isolation level repeatable read; select from pubsub.channels").await.unwrap();
    db.client.batch_execute("select pubsub.declare_channel('sms', 2)").await.unwrap();
    stale.batch_execute("select pubsub.publish('sms', '{}'); commit").await.unwrap();
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 1);
}

#[actix::test]
async fn of_two_removals_at_once_the_second_is_refused() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    for (call, expected) in [("unsubscribe('sms', 'one', true)", "PB004"), ("drop_channel('sms')", "PB001")] {
        db.client.batch_execute(&format!("begin; select pubsub.{call}")).await.unwrap();
        let second = connect(db.url()).await;
        let second =
            tokio::task::spawn_local(
                async move { second.batch_execute(&format!("select pubsub.{call}")).await },
            );
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!second.is_finished(), "it waits for the first: {call}");
        db.client.batch_execute("commit").await.unwrap();
        assert_eq!(code(&second.await.unwrap().unwrap_err()), expected, "{call}");
    }
}

#[actix::test]
async fn a_refused_drop_neither_waits_nor_makes_publishers_wait() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    let publisher = connect(db.url()).await;
    publisher.batch_execute("begin; select pubsub.publish('sms', '{}')").await.unwrap();
    let began = Instant::now();
    let refused = db.client.batch_execute("select pubsub.drop_channel('sms')").await.unwrap_err();
    assert_eq!(code(&refused), "PB009", "though a publisher is at work");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    publisher.batch_execute("commit").await.unwrap();
}
