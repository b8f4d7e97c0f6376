//! There is always a partition for the next event, and none is in use for too long.

use crate::retention::TrimmedLog;

/// The end of the first partition.
const END: i64 = 10_000_000;

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
    set_sequence(&log, END - 1 - 300_000).await;
    log.count("select pubsub.publish('sms', '{}')").await;
    record_opened(&log).await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "it was opened just now");
    set_opened_earlier(&log, "59 minutes").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0);
    set_opened_earlier(&log, "1 minute").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 200_000, "a part at a time");
    // A concurrent publisher does not notice.
    let among = log.count("select pubsub.publish('sms', '{}')").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 99_998);
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0);
    assert_eq!(log.count("select skipped from pubsub.partitions where first_id = 0").await, 299_998);
    assert_eq!(log.count("select pubsub.publish('sms', '{}')").await, END);
    assert_eq!(log.claim(1).await, [END - 300_000, among, END]);
    log.settle_all().await;
    log.until_sealed(END).await;
    assert_eq!(log.trim().await, [END]);

    record_opened(&log).await;
    set_opened_earlier(&log, "7 days").await;
    log.count("select count(pubsub.set_retention('sms', '8 days'))").await;
    assert_eq!(log.count("select extract(day from pubsub.partition_term())::bigint").await, 1);
    assert_eq!(log.count("select pubsub.skip_ids()").await, 200_000);
}

#[tokio::test]
async fn a_partition_kept_forever_is_not_closed_early() {
    let log = TrimmedLog::new().await;
    log.count("select nextval('pubsub.db_events_id_seq')").await;
    record_opened(&log).await;
    set_opened_earlier(&log, "1 year").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "it contains nothing");
    log.count("select count(pubsub.set_retention('sms', null))").await;
    log.count("select pubsub.publish('sms', '{}')").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "its events are kept forever");
    log.count("select count(pubsub.set_retention('email', null))").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 0, "all events are kept forever");
    log.count("select count(pubsub.set_retention('sms', '1 hour'))").await;
    assert_eq!(log.count("select pubsub.skip_ids()").await, 200_000);
}

#[tokio::test]
async fn partitions_are_created_ahead_and_sized_by_the_rate() {
    let log = TrimmedLog::new().await;
    let last = "select end_id - first_id from pubsub.partitions order by first_id desc limit 1";
    let ahead = "select max(end_id) - pubsub.log_sequence() from pubsub.partitions";
    assert_eq!((log.count(last).await, log.count(ahead).await), (END, 4 * END));
    record_opened(&log).await;
    assert_eq!(log.count("select pubsub.ensure_partitions()::bigint").await, 0);

    // A slow log: ten million events a month.
    set_sequence(&log, END).await;
    record_opened(&log).await;
    set_opened_earlier(&log, "30 days").await;
    assert_eq!(log.count("select pubsub.ensure_partitions()::bigint").await, 1);
    assert_eq!(log.count(last).await, END);
    // A fast log: twenty million events in two hours, with a retention of eight days, which is 240 million a day.
    log.count("select count(pubsub.set_retention('sms', '8 days'))").await;
    log.db
        .client
        .batch_execute(
            "update pubsub.partitions set opened_at = now() - interval '2 hours' where first_id = 10000000",
        )
        .await
        .unwrap();
    set_sequence(&log, 3 * END).await;
    assert_eq!(log.count("select pubsub.next_span()").await, 2 * END, "but at most twice the last");
    assert_eq!(log.count("select pubsub.ensure_partitions()::bigint").await, 1);
    assert_eq!(log.count(last).await, 2 * END);
    assert_eq!(log.count("select pubsub.next_span()").await, 4 * END);
    for _ in 0..10 {
        let make = "insert into pubsub.partitions (first_id, end_id) \
                    select max(end_id), max(end_id) + pubsub.next_span() from pubsub.partitions";
        log.db.client.batch_execute(make).await.unwrap();
    }
    assert_eq!(log.count(last).await, 24 * END, "a day's events, and no more");
    // The discarded partitions contained no event.
    log.db
        .client
        .batch_execute("update pubsub.partitions set skipped = 19000000 where first_id = 10000000")
        .await
        .unwrap();
    assert_eq!(log.count("select pubsub.next_span()").await, 2 * END);
}

#[tokio::test]
async fn a_burst_that_outruns_the_janitor_has_thirty_million_ids() {
    let log = TrimmedLog::new().await;
    for end in [END, 2 * END] {
        log.publish_across(end, 5, 5).await;
        log.count("select pubsub.ensure_partitions()::bigint").await;
        let ahead = log.count("select max(end_id) - pubsub.log_sequence() from pubsub.partitions").await;
        assert!(ahead > 30_000_000, "{ahead}");
        set_sequence(&log, end + 30_000_000 - 1).await;
        log.count("select pubsub.publish('sms', '{}')").await;
    }
}

#[tokio::test]
async fn creating_partitions_waits_for_locks_only_in_need() {
    let log = TrimmedLog::new().await;
    let vacuum = log.connect().await;
    vacuum.batch_execute("begin; lock table pubsub.db_events in share update exclusive mode").await.unwrap();
    set_sequence(&log, END).await;
    assert_eq!(log.count("select pubsub.ensure_partitions()::bigint").await, 0);
    set_sequence(&log, 3 * END + END / 2).await;
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
    log.count("select setval('pubsub.db_events_id_seq', 10000000)").await;
    log.until_sealed(10_000_000).await;
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
