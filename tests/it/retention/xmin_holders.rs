//! Transactions that keep the database from cleaning up are named.

use crate::retention::unread::until_logged;
use pubsub_tests::{ChildProcess, TestDatabase, connect};

/// The old xmin holders of one application: their kind, state and process.
async fn found(
    db: &TestDatabase,
    older_than: &str,
    application: &str,
) -> Vec<(String, Option<String>, Option<i32>)> {
    let pins = format!(
        "select kind, state, pid from pubsub.xmin_holders('{older_than}') where application = $1 order by kind"
    );
    let rows = db.client.query(&pins, &[&application]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

#[tokio::test]
async fn snapshots_writers_and_prepared_transactions_hold_xmin() {
    let db = TestDatabase::new().await;
    let url = db.url();
    let (reader, writer, idle, preparer) =
        (connect(url).await, connect(url).await, connect(url).await, connect(url).await);
    let mark = fastrand::u64(..);
    for (session, name) in [(&reader, "reader"), (&writer, "writer"), (&idle, "idle")] {
        session.batch_execute(&format!("set application_name = '{name} {mark}'")).await.unwrap();
    }
    reader.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    writer.batch_execute("begin; create table t ()").await.unwrap();
    idle.batch_execute("begin; select 1").await.unwrap();
    let gid = format!("prepared {mark}");
    preparer.batch_execute(&format!("begin; create table u (); prepare transaction '{gid}'")).await.unwrap();

    let state = Some("idle in transaction".to_owned());
    for name in ["reader", "writer"] {
        let found = found(&db, "0", &format!("{name} {mark}")).await;
        assert!(
            matches!(&found[..], [(kind, of, Some(_))] if kind == "session" && *of == state),
            "{name}: {found:?}"
        );
    }
    assert_eq!(found(&db, "0", &gid).await, [("prepared transaction".into(), Some("prepared".into()), None)]);
    assert_eq!(
        found(&db, "0", &format!("idle {mark}")).await,
        [],
        "it has no snapshot and no transaction id"
    );
    for application in [&gid, &format!("reader {mark}"), &format!("writer {mark}")] {
        assert_eq!(found(&db, "1 day", application).await, [], "none is a day old");
    }
    preparer.batch_execute(&format!("rollback prepared '{gid}'")).await.unwrap();
    assert_eq!(found(&db, "0", &gid).await, []);
}

#[tokio::test]
async fn publishers_stay_fast_under_an_old_snapshot() {
    let db = TestDatabase::numbered().await;
    let (pin, publisher) = (connect(db.url()).await, connect(db.url()).await);
    for begin in
        ["declare_channel('sms')", "subscribe('sms', 'one')", "register_process('localhost', 1, 'test')"]
    {
        db.client.batch_execute(&format!("select pubsub.{begin}")).await.unwrap();
    }
    pin.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    // Each waiter row replaces the one before, and expires at once.
    db.count("select count(pubsub.start_waiting(1, 1, '0')) from generate_series(1, 3000)").await;
    db.count("select pubsub.reclaim_strays()").await;
    assert_eq!(db.count("select count(*) from pubsub.waiters").await, 0);

    let blocks = "select sum(pg_stat_get_xact_blocks_fetched(c.oid))::bigint from pg_class c \
                   where c.relname in ('waiters', 'waiters_until_idx', 'waiters_channel_idx')";
    publisher.batch_execute("begin; select pubsub.publish('sms', '{}')").await.unwrap();
    let walked: i64 = publisher.query_one(blocks, &[]).await.unwrap().get(0);
    assert!(walked < 10, "{walked} blocks");
    publisher.batch_execute("commit").await.unwrap();
}

#[actix::test]
async fn a_warning_names_the_owner_of_an_old_transaction() {
    let db = TestDatabase::new().await;
    let owner = connect(db.url()).await;
    let name = format!("report {}", fastrand::u64(..));
    owner
        .batch_execute(&format!(
            "set application_name = '{name}'; begin isolation level repeatable read; select 1"
        ))
        .await
        .unwrap();
    let pid: i32 = owner.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let user: String = owner.query_one("select current_user::text", &[]).await.unwrap().get(0);
    let child = ChildProcess::start("retention::unread::child_maintains_the_log", db.url());
    let line = until_logged(&child, &["an old transaction keeps the database from cleaning up", &name]).await;
    for part in [
        "WARN",
        "kind=\"session\"",
        &format!("owner=\"{user}\""),
        &format!("pid={pid}"),
        "client=\"127.0.0.1",
        "database=\"pubsub_test_",
        "state=\"idle in transaction\"",
        "age=Some(",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}
