//! There is always a partition for the next event, and none is in use for too long.

use crate::retention::TrimmedLog;
use pubsub_tests::OwnedDatabase;

/// The end of the first partition.
const END: i64 = 10_000_000_000;

/// As if the current partition had been opened earlier.
async fn set_opened_earlier(log: &TrimmedLog, interval: &str) {
    let earlier = format!("update pubsub.partitions set opened_at = opened_at - interval '{interval}'");
    log.db.client.batch_execute(&earlier).await.unwrap();
}

async fn set_sequence(log: &TrimmedLog, value: i64) {
    log.count(&format!("select setval('pubsub.db_events_id_seq', {value})")).await;
}

/// Records that the current partition is in use.
async fn record_opened(log: &TrimmedLog) {
    log.count("select pubsub.close_partitions()::bigint").await;
}

#[tokio::test]
async fn old_events_of_a_quiet_log_are_removed() {
    let log = TrimmedLog::new().await;
    let early = log.count("select pubsub.publish('sms', '{}')").await;
    record_opened(&log).await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "it was opened just now");
    set_opened_earlier(&log, "59 minutes").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0);
    set_opened_earlier(&log, "1 minute").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, END - 1 - early);
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0);
    assert_eq!(log.count("select pubsub.publish('sms', '{}')").await, END);
    assert_eq!(log.claim(1).await, [early, END]);
    log.settle_all().await;
    log.until_sealed(END).await;
    assert_eq!(log.trim().await, [END]);

    record_opened(&log).await;
    log.count("select count(pubsub.set_retention('sms', '8 days'))").await;
    set_opened_earlier(&log, "23 hours").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "an eighth of the longest retention");
    set_opened_earlier(&log, "1 hour").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, END - 1);
}

#[tokio::test]
async fn an_ordered_subscription_goes_past_skipped_ids_at_once() {
    let log = TrimmedLog::new().await;
    log.count("select pubsub.subscribe('email', 'ordered', lanes => 4)::bigint").await;
    let publish = "select pubsub.publish('email', '{}', 'key')";
    let early = log.count(publish).await;
    record_opened(&log).await;
    set_opened_earlier(&log, "1 hour").await;
    log.count("select pubsub.skip_ids()").await;
    assert_eq!(log.count(publish).await, END);
    assert_eq!(log.claim(2).await, [early]);
    assert_eq!(log.claim(2).await, [END]);
}

#[tokio::test]
async fn a_partition_kept_forever_is_not_closed_early() {
    let log = TrimmedLog::new().await;
    log.count("select nextval('pubsub.db_events_id_seq')").await;
    record_opened(&log).await;
    set_opened_earlier(&log, "1 year").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "it contains nothing");
    log.count("select count(pubsub.set_retention('sms', null))").await;
    let last = log.count("select pubsub.publish('sms', '{}')").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "its events are kept forever");
    log.count("select count(pubsub.set_retention('email', null))").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "all events are kept forever");
    log.count("select count(pubsub.set_retention('sms', '1 hour'))").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, END - 1 - last);
}

#[tokio::test]
async fn the_ids_of_a_partition_are_skipped_only_with_room_to_spare() {
    let log = TrimmedLog::new().await;
    log.count("select pubsub.publish('sms', '{}')").await;
    record_opened(&log).await;
    set_opened_earlier(&log, "1 day").await;
    // Publishers may draw so many before the sequence is set.
    set_sequence(&log, END - 1_000_000_000).await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "publishers reach the end by themselves");
    log.db.client.batch_execute("delete from pubsub.partitions where first_id > 0").await.unwrap();
    set_sequence(&log, 1).await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "there is no partition behind it");
}

#[tokio::test]
async fn publishing_needs_no_maintenance_for_twenty_billion_ids() {
    let log = TrimmedLog::new().await;
    let ahead = "select max(end_id) - pubsub.log_sequence() from pubsub.partitions";
    assert_eq!(log.count(ahead).await, 3 * END);
    // At a thousand events per second, two hundred days without any process.
    set_sequence(&log, 200 * 86_400 * 1_000).await;
    log.count("select pubsub.publish('sms', '{}')").await;
    set_sequence(&log, 3 * END - 2).await;
    log.count("select pubsub.publish('sms', '{}')").await;
    assert_eq!(log.count("select pubsub.ensure_partitions()::bigint").await, 2);
    assert_eq!(log.count("select pubsub.publish('sms', '{}')").await, 3 * END);
    assert_eq!(log.count("select pubsub.ensure_partitions()::bigint").await, 1);
    assert_eq!(log.count("select pubsub.ensure_partitions()::bigint").await, 0);
    let most = "select pubsub.ensure_partitions(9000000000000000000, 0)::bigint";
    assert_eq!(log.count(most).await, 100, "however many are asked for");
}

#[actix::test]
async fn a_publisher_cannot_use_up_the_ids() {
    let owned = OwnedDatabase::new().await;
    owned.owner.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    let publisher = owned.connect(&owned.role_for("publisher", &["publisher"]).await).await;
    for call in ["nextval('pubsub.db_events_id_seq')", "setval('pubsub.db_events_id_seq', 1)"] {
        let refused = publisher.batch_execute(&format!("select {call}")).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "42501", "{call}");
    }
    let insert = "insert into pubsub.db_events (channel, payload) values ('sms', '{}') returning id";
    assert_eq!(publisher.query_one(insert, &[]).await.unwrap().get::<_, i64>(0), 1);
}

#[tokio::test]
async fn creating_partitions_waits_for_locks_only_in_need() {
    let log = TrimmedLog::new().await;
    let vacuum = log.connect().await;
    vacuum.batch_execute("begin; lock table pubsub.db_events in share update exclusive mode").await.unwrap();
    set_sequence(&log, END).await;
    assert_eq!(log.count("select pubsub.ensure_partitions()::bigint").await, 0);
    set_sequence(&log, 2 * END + END / 2).await;
    let needed = log.db.client.query("select pubsub.ensure_partitions()", &[]).await.unwrap_err();
    assert_eq!(needed.code().unwrap().code(), "55P03", "{needed:?}");
    // Publishing does not wait.
    log.db
        .client
        .batch_execute("set lock_timeout = '1ms'; select pubsub.publish('sms', '{}')")
        .await
        .unwrap();
}

#[tokio::test]
async fn idle_lanes_are_moved_on_a_bounded_number_at_a_time() {
    const SUBSCRIPTIONS: i64 = 20;
    const LANES: i64 = 64;
    let log = TrimmedLog::new().await;
    for n in 1..=SUBSCRIPTIONS {
        log.count(&format!("select pubsub.subscribe('email', 's{n}', lanes => {LANES})::bigint")).await;
    }
    set_sequence(&log, END).await;
    log.until_sealed(END).await;
    let client = log.connect().await;
    let advance = "select pubsub.advance_idle_cursors()::bigint";
    let locks = "select count(*) from pg_locks where pid = pg_backend_pid() and locktype = 'advisory'";
    let (mut total, mut calls) = (0, 0);
    loop {
        client.batch_execute("begin").await.unwrap();
        let advanced: i64 = client.query_one(advance, &[]).await.unwrap().get(0);
        let locked: i64 = client.query_one(locks, &[]).await.unwrap().get(0);
        // While one process does it, others do nothing.
        assert_eq!(log.count(advance).await, 0);
        client.batch_execute("commit").await.unwrap();
        assert!(locked <= 600, "{locked} locks");
        if advanced == 0 {
            break;
        }
        total += advanced;
        calls += 1;
    }
    assert_eq!(total, SUBSCRIPTIONS * LANES + 1, "in {calls} calls");
}
