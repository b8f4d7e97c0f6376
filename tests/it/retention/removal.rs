//! A partition is removed without making anybody wait, and an interrupted removal is completed.

use crate::retention::{TrimmedLog, next_removal};
use pubsub_tests::{DEADLINE, OwnedDatabase, connect};
use std::time::Instant;
use tokio_postgres::error::SqlState;

/// The end of the first partition.
const END: i64 = 10_000_000_000;

/// The number of sessions that wait for a removal to begin.
const SEEKING: &str = "select count(*) from pg_stat_activity where wait_event = 'PgSleep' and query like '%pubsub.seek%' \
                        and datname = current_database()";

/// A log whose first partition can be removed.
async fn removable_log() -> TrimmedLog {
    let log = TrimmedLog::new().await;
    log.publish_across(END, 1, 1).await;
    log.claim(1).await;
    log.settle_all().await;
    log.maintain().await;
    log
}

#[tokio::test]
async fn nobody_waits_while_a_reader_holds_a_partition() {
    let log = removable_log().await;
    let (reader, remover) = (log.connect().await, log.connect().await);
    reader.batch_execute("begin; select * from pubsub.db_events").await.unwrap();

    let statement = next_removal(&remover).await.unwrap();
    assert!(statement.ends_with("concurrently"), "{statement}");
    let removing = tokio::spawn(async move { (remover.batch_execute(&statement).await, remover) });
    let waiting = "select count(*) from pg_stat_activity
                    where datname = current_database() and wait_event_type = 'Lock' and query like 'alter%'";
    log.db.until_count(waiting, 1).await;
    // Publishing, claiming and settling go on. They would fail if they waited for a lock at all.
    log.db.client.batch_execute("set lock_timeout = '1ms'").await.unwrap();
    log.publish_across(2 * END, 1, 1).await;
    assert_eq!(log.claim(1).await, [2 * END - 1, 2 * END]);
    log.settle_all().await;
    assert_eq!(log.count("select count(*) from pubsub.db_events").await, 3, "it is detached already");
    assert_eq!(log.count(waiting).await, 1, "it still waits");

    reader.batch_execute("commit").await.unwrap();
    let (removed, remover) = tokio::time::timeout(DEADLINE, removing).await.unwrap().unwrap();
    removed.unwrap();
    assert_eq!(next_removal(&remover).await.unwrap(), "select pubsub.drop_partition(0)");
}

#[tokio::test]
async fn an_interrupted_removal_is_finished_by_the_next_process() {
    let log = removable_log().await;
    let reader = log.connect().await;
    reader.batch_execute("begin; select * from pubsub.db_events").await.unwrap();

    for expected in ["concurrently", "finalize", "finalize"] {
        let remover = log.connect().await;
        let statement = next_removal(&remover).await.unwrap();
        assert!(statement.ends_with(expected), "{statement}");
        remover.batch_execute("set statement_timeout = '50ms'").await.unwrap();
        let interrupted = remover.batch_execute(&statement).await.unwrap_err();
        assert_eq!(interrupted.code(), Some(&SqlState::QUERY_CANCELED), "{interrupted:?}");
    }
    let within_a_minute = "select count(*) from pubsub.removal_steps()";
    assert_eq!(log.count(within_a_minute).await, 0, "the same step is not repeated at once");
    reader.batch_execute("commit").await.unwrap();
    assert_eq!(log.trim().await, [END]);
}

#[tokio::test]
async fn a_partition_read_by_name_is_dropped_after_its_reader() {
    let log = removable_log().await;
    let (reader, remover) = (log.connect().await, log.connect().await);
    remover.batch_execute(&next_removal(&remover).await.unwrap()).await.unwrap();
    reader.batch_execute("begin; select * from pubsub.db_events_0").await.unwrap();
    let busy = remover.batch_execute(&next_removal(&remover).await.unwrap()).await.unwrap_err();
    assert_eq!(busy.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{busy:?}");
    reader.batch_execute("commit").await.unwrap();
    assert_eq!(log.trim().await, [END]);
}

#[actix::test]
async fn a_subscriber_that_does_not_own_the_log_trims_it() {
    let owned = OwnedDatabase::new().await;
    let role = owned.role_for("worker", &["publisher", "subscriber"]).await;
    let (client, remover, reader) = (owned.connect(&role).await, owned.connect(&role).await, &owned.owner);
    let run = async |sql: &str| client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    for begin in ["declare_channel('sms')", "set_retention('sms', '0')", "subscribe('sms', 'one')"] {
        run(begin).await;
    }
    reader.batch_execute("select setval('pubsub.db_events_id_seq', 9999999998)").await.unwrap();
    run("publish('sms', '{}'), pubsub.publish('sms', '{}')").await;
    run("seek('sms', 'one', 'now')").await;
    let until = Instant::now() + DEADLINE;
    let next = loop {
        assert!(Instant::now() < until, "it is not sealed");
        run("close_partitions()").await;
        run("advance_idle_cursors()").await;
        if let Some(next) = next_removal(&remover).await {
            break next;
        }
    };
    assert_eq!(next, "select pubsub.detach_partition(0)");
    reader.batch_execute("begin; select * from pubsub.db_events").await.unwrap();
    let busy = remover.batch_execute(&next).await.unwrap_err();
    assert_eq!(busy.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{busy:?}");
    reader.batch_execute("commit").await.unwrap();
    while let Some(statement) = next_removal(&remover).await {
        remover.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
    let left = "select min(first_id) from pubsub.partitions";
    assert_eq!(reader.query_one(left, &[]).await.unwrap().get::<_, i64>(0), END);
}

#[tokio::test]
async fn a_seek_back_waits_for_removals_and_holds_the_rest() {
    let log = TrimmedLog::new().await;
    for end in [END, 2 * END] {
        log.publish_across(end, 1, 0).await;
    }
    log.count("select pubsub.publish('sms', '{}')").await;
    log.claim(1).await;
    log.settle_all().await;
    log.maintain().await;
    let remover = log.connect().await;
    let detach = next_removal(&remover).await.unwrap();
    let url = log.db.url().to_owned();
    let seeking = tokio::spawn(async move {
        let seek = "select replayed from pubsub.seek('sms', 'one', 'beginning')";
        connect(&url).await.query_one(seek, &[]).await.unwrap().get::<_, i64>(0)
    });
    log.db.until_count(SEEKING, 1).await;
    remover.batch_execute(&detach).await.unwrap();
    drop(remover);
    assert_eq!(seeking.await.unwrap(), 2, "what has left is not promised");
    assert_eq!(log.trim().await, [END, 2 * END], "the second will be read again");
    assert_eq!(log.claim(1).await, [2 * END - 1, 2 * END]);
    log.settle_all().await;
    assert_eq!(log.trim().await, [2 * END]);
}

#[tokio::test]
async fn a_removal_that_never_begins_holds_a_seek_only_for_a_while() {
    let log = removable_log().await;
    // Behind a pooler, the session of a caller that has died stays open, with all its session locks.
    let dead = log.connect().await;
    assert!(next_removal(&dead).await.unwrap().ends_with("concurrently"));
    let seek = "set lock_timeout = '10ms'; select pubsub.seek('sms', 'one', 'now')";
    let refused = log.connect().await.batch_execute(seek).await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::LOCK_NOT_AVAILABLE), "{refused:?}");
    let limit =
        "select count(*) from pubsub.partitions where leaves_until < clock_timestamp() + interval '61 s'";
    assert_eq!(log.count(limit).await, 1);
    log.db.client.batch_execute("update pubsub.partitions set leaves_until = now()").await.unwrap();
    log.connect().await.batch_execute(seek).await.unwrap();
    assert_eq!(log.trim().await, [END], "another caller removes it");
    drop(dead);
}

#[actix::test]
async fn a_busy_log_is_trimmed_without_pg_read_all_stats() {
    let owned = OwnedDatabase::new().await;
    let role = owned.role_for("worker", &["publisher", "subscriber"]).await;
    let client = owned.connect(&role).await;
    let run = async |sql: &str| client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    for begin in ["declare_channel('sms')", "set_retention('sms', '0')", "declare_channel('email')"] {
        run(begin).await;
    }
    owned.owner.batch_execute("select setval('pubsub.db_events_id_seq', 9999999998)").await.unwrap();
    run("publish('sms', '{}'), pubsub.publish('sms', '{}')").await;
    // There is always somebody who uses the log, and the owner may not see for how long.
    let busy: Vec<_> = [owned.connect(&role).await, owned.connect(&role).await]
        .into_iter()
        .map(|publisher| {
            tokio::spawn(async move {
                loop {
                    publisher.batch_execute("select pubsub.publish('email', '{}')").await.unwrap();
                }
            })
        })
        .collect();
    let until = Instant::now() + DEADLINE;
    loop {
        assert!(Instant::now() < until, "it is not removed");
        run("close_partitions()").await;
        if let Some(next) = next_removal(&client).await {
            let step = client.batch_execute(&next).await;
            if next.starts_with("select pubsub.drop") {
                break step.unwrap();
            }
        }
    }
    busy.iter().for_each(tokio::task::JoinHandle::abort);
}
