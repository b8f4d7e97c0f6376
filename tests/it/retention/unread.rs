//! A subscription that nobody reads is reported with its name and age, then suspended before it fills the disk.

use crate::retention::TrimmedLog;
use pubsub::{Delivery, PubSub, SubscribeOptions};
use pubsub_tests::{ChildProcess, DEADLINE, Sms, TestDatabase, in_child_process, probe, sending};
use std::time::Duration;

/// The end of the first partition.
const END: i64 = 10_000_000_000;

impl TrimmedLog {
    /// As if everything so far had happened some days earlier.
    async fn age(&self, days: u32) {
        let age = format!(
            "update pubsub.cursors set moved_at = moved_at - interval '{days} days';
             update pubsub.db_events set published_at = published_at - interval '{days} days'"
        );
        self.db.client.batch_execute(&age).await.unwrap();
    }

    /// The subscriptions that are unread for more than a day, with their first event and the days.
    async fn unread(&self) -> Vec<(String, i64, i64)> {
        let unread = "select name, event_id, extract(day from unread_for)::bigint \
                        from pubsub.unread_subscriptions('1 day') order by name";
        let rows = self.db.client.query(unread, &[]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    }

    async fn suspended(&self) -> Vec<String> {
        let suspend = "select name from pubsub.suspend_unread() order by name";
        self.db.client.query(suspend, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

#[tokio::test]
async fn progress_decides_whether_a_subscription_is_unread() {
    let log = TrimmedLog::new().await;
    for name in ["slow", "never_read", "has_read_all"] {
        log.count(&format!("select pubsub.subscribe('sms', '{name}')::bigint")).await;
    }
    log.count("select count(pubsub.publish('sms', '{}')) from generate_series(1, 2000)").await;
    log.claim(2).await;
    assert_eq!(
        (log.claim(4).await.len(), log.claim(4).await.len(), log.claim(4).await.len()),
        (1000, 1000, 0)
    );
    log.age(20).await;
    assert_eq!(log.claim(1).await.len(), 1_000);
    // It moved just now, though it has been behind for weeks. Afterwards it stops, though its process runs.
    assert_eq!(log.unread().await, [("never_read".into(), 1, 20), ("slow".into(), 1001, 20)]);
    log.claim(2).await;
    assert_eq!(log.unread().await, [("never_read".into(), 1, 20)]);
    // An event is unread since its publication, however long its subscription had nothing to read before.
    log.count("select pubsub.publish('sms', '{}')").await;
    assert_eq!(log.unread().await, [("never_read".into(), 1, 20)]);
    assert_eq!(log.suspended().await, ["never_read"]);
    assert_eq!(log.suspended().await, [] as [&str; 0], "once");
    log.age(2).await;
    assert_eq!(log.unread().await.len(), 3, "the suspended one is no longer reported");
}

#[tokio::test]
async fn late_events_below_the_position_are_unread() {
    let log = TrimmedLog::new().await;
    let late = log.connect().await;
    late.batch_execute("begin; select pubsub.publish('sms', '{}')").await.unwrap();
    log.count("select pubsub.publish('sms', '{}')").await;
    assert_eq!(log.claim(1).await, [2]);
    late.batch_execute("commit").await.unwrap();
    log.age(3).await;
    assert_eq!(log.unread().await, [("one".into(), 1, 3)]);
    // In a window that is partly read, before and after the end of its stragglers.
    late.batch_execute("begin; select pubsub.publish('sms', '{}'), pubsub.publish('sms', '{}')")
        .await
        .unwrap();
    assert_eq!(log.claim(1).await, [1]);
    log.count("select count(pubsub.publish('sms', '{}')) from generate_series(1, 2)").await;
    assert_eq!(log.claim(1).await, [5, 6]);
    late.batch_execute("commit").await.unwrap();
    log.count("select pubsub.publish('sms', '{}')").await;
    for (next, rest) in [(3, 4), (4, 7)] {
        assert_eq!(log.claim_up_to(1, 1).await.unwrap(), [next]);
        log.age(3).await;
        assert_eq!(log.unread().await, [("one".into(), rest, 3)]);
    }
    assert_eq!(log.claim(1).await, [7]);
    log.age(3).await;
    assert_eq!(log.unread().await, []);
}

#[tokio::test]
async fn a_suspended_subscription_holds_and_claims_nothing() {
    let log = TrimmedLog::new().await;
    log.count("select pubsub.subscribe('sms', 'other')::bigint").await;
    log.publish_across(END, 3, 2).await;
    log.claim(2).await;
    log.settle_all().await;
    log.age(15).await;
    assert_eq!(log.trim().await, [0, END]);
    assert_eq!(log.suspended().await, ["one"]);
    assert_eq!(log.trim().await, [END]);
    let refused = log.claim_up_to(1, 10).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!(refused.code().code(), "PB007");
    assert!(
        refused.message().starts_with("subscription \"one\" of channel \"sms\" is suspended since"),
        "{refused}"
    );
    assert_eq!(refused.hint(), Some("Bring it back with pubsub.resume('sms', 'one')."));

    assert_eq!(log.count("select pubsub.resume('sms', 'one')").await, 3);
    assert_eq!(log.suspended().await, [] as [&str; 0], "its time starts again");
    assert_eq!(log.claim(1).await, [END, END + 1]);
    assert_eq!(log.count("select pubsub.resume('sms', 'one')").await, 0, "it is not suspended");
    log.settle_all().await;
    log.publish_across(2 * END, 1, 1).await;
    log.claim(2).await;
    log.settle_all().await;
    assert_eq!(log.trim().await, [END, 2 * END], "the log waits for it again");
}

#[tokio::test]
async fn a_subscription_resumed_in_time_has_missed_nothing() {
    let log = TrimmedLog::new().await;
    log.publish_across(END, 3, 2).await;
    log.age(15).await;
    log.suspended().await;
    assert_eq!(log.count("select pubsub.resume('sms', 'one')").await, 0);
    assert_eq!(log.claim(1).await.len(), 5);
}

#[tokio::test]
async fn events_of_a_partition_being_removed_count_as_missed() {
    let log = TrimmedLog::new().await;
    log.publish_across(END, 3, 2).await;
    log.age(15).await;
    log.suspended().await;
    let remover = log.connect().await;
    let detach: String = remover.query_one("select pubsub.next_removal()", &[]).await.unwrap().get(0);
    let resume = "set lock_timeout = '10ms'; select pubsub.resume('sms', 'one')";
    let refused = log.db.client.batch_execute(resume).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "55P03", "it waits for the removal: {refused:?}");
    remover.batch_execute(&detach).await.unwrap();
    drop(remover);
    assert_eq!(log.count("select pubsub.resume('sms', 'one')").await, 3);
    assert_eq!(log.trim().await, [END]);
    assert_eq!(log.count("select missed from pubsub.subscriptions").await, 0, "and is not counted twice");
    assert_eq!(log.claim(1).await, [END, END + 1]);
}

#[tokio::test]
async fn invalid_limits_and_retentions_are_refused() {
    let log = TrimmedLog::new().await;
    for (call, code) in [
        ("set_retention('sms', '-1 day')", "23514"),
        ("set_retention('smss', '1 day')", "PB001"),
        ("set_unread_limit('sms', 'one', '-1 day')", "23514"),
        ("set_unread_limit('sms', 'two', '1 day')", "PB004"),
        ("resume('sms', 'two')", "PB004"),
    ] {
        let refused = log.db.client.query(&format!("select pubsub.{call}"), &[]).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), code, "{call}: {refused:?}");
    }
}

#[tokio::test]
async fn missed_events_are_counted_over_all_lanes() {
    let log = TrimmedLog::new().await;
    log.count("select pubsub.subscribe('sms', 'ordered', lanes => 4)::bigint").await;
    let publish = "select count(pubsub.publish('sms', '{}', key => k::text)) from generate_series(1, 20) k";
    log.count(publish).await;
    log.publish_across(END, 3, 2).await;
    while !log.claim(1).await.is_empty() {}
    log.settle_all().await;
    log.age(15).await;
    assert_eq!(log.suspended().await, ["ordered"]);
    assert_eq!(log.trim().await, [END]);
    log.db.client.batch_execute("select pubsub.subscribe('sms', 'ordered', lanes => 2)").await.unwrap();
    let refused = log.claim_up_to(2, 10).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "PB007", "also while its lanes change: {refused:?}");
    assert_eq!(log.count("select pubsub.resume('sms', 'ordered')").await, 23);
    // The change of lanes moves the unread events into the mailbox.
    assert_eq!(log.claim(2).await, [] as [i64; 0]);
    assert_eq!(log.claim_mailbox(2).await.len(), 2);
}

/// Only maintains the log, and reports its own log lines.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_maintains_the_log() {
    let Some((url, report)) = in_child_process() else { return };
    crate::tracing_fields::log_to(report);
    let _pubsub = PubSub::builder(url)
        .report_unread_after(Duration::from_secs(60))
        .report_transactions_after(Duration::from_millis(1))
        .start()
        .await
        .unwrap();
    std::future::pending::<()>().await;
}

/// Waits for a line of a child's log that contains all of these parts.
pub(crate) async fn until_logged(child: &ChildProcess, parts: &[&str]) -> String {
    loop {
        let line = child.next().await;
        if parts.iter().all(|part| line.contains(part)) {
            return line;
        }
    }
}

#[actix::test]
async fn an_unread_subscription_is_reported_and_then_suspended() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let limited = |days: u64| SubscribeOptions::new().unread_limit(Duration::from_secs(days * 86_400));
    let start = async |days| {
        let sender = sender.clone();
        let handle = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
        db.pubsub().subscribe_fn_with("read", limited(days), handle).start().await.unwrap()
    };
    assert!(start(3).await.drain(DEADLINE).await);
    db.client.batch_execute("select pubsub.publish('sms', '{\"msg\": \"hello\"}')").await.unwrap();
    let age = "update pubsub.cursors set moved_at = moved_at - interval '2 days'; \
                update pubsub.db_events set published_at = published_at - interval '2 days'";
    db.client.batch_execute(age).await.unwrap();
    let child = ChildProcess::start("retention::unread::child_maintains_the_log", db.url());
    let line = until_logged(&child, &["nobody reads this subscription's events"]).await;
    for part in [
        "WARN",
        "channel=\"sms\"",
        "subscription=\"read\"",
        "event=1",
        "unread_for=1728",
        "suspended_after=Some(259200s)",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    drop(child);
    db.client.batch_execute(age).await.unwrap();
    let child = ChildProcess::start("retention::unread::child_maintains_the_log", db.url());
    let line = until_logged(&child, &["suspended: nobody has read"]).await;
    for part in ["ERROR", "channel=\"sms\"", "subscription=\"read\"", "event=1", "unread_for=3456"] {
        assert!(line.contains(part), "{part}: {line}");
    }

    let pubsub = start(3).await;
    assert_eq!(pubsub.subscription::<Sms>("read").resume().await.unwrap(), 0);
    assert_eq!(received.next().await, "hello");
    pubsub.subscription::<Sms>("unread").resume().await.unwrap_err();
}
