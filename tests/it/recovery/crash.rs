//! The events of a killed process run again on another process within seconds, at default settings.

use pubsub::{Delivery, publish, publish_all};
use pubsub_tests::{ChildProcess, Sms, TestDatabase, probe};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The longest time from the kill to the rerun.
const RERUN_WITHIN: Duration = Duration::from_secs(10);

/// Starts a child that has started `count` deliveries.
async fn victim(db: &TestDatabase, count: usize) -> ChildProcess {
    // The subscription exists before the first event.
    let pubsub =
        db.pubsub().subscribe_fn("shared", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(Duration::from_secs(10)).await);
    let child = ChildProcess::start("recovery::child_starts_deliveries_and_never_finishes", db.url());
    db.until_count("select count(*) from pubsub.processes", 1).await;
    let events: Vec<Sms> = (0..count).map(|n| Sms::new(n.to_string())).collect();
    publish_all(&db.client, &events).await.unwrap();
    let mut started = BTreeSet::new();
    while started.len() < count {
        started.insert(child.next().await);
    }
    child
}

#[actix::test]
async fn a_killed_process_has_its_events_rerun_within_ten_seconds() {
    let db = TestDatabase::new().await;
    let mut child = victim(&db, 10).await;
    let (_survivor, mut received) = db.receive_attempts("shared").await;
    child.signal("KILL");
    let killed = Instant::now();
    child.exited().await;

    let again = received.take(10).await;
    let took = killed.elapsed();
    assert!(again.iter().all(|(_, attempt)| *attempt == 2), "the lost attempt counts: {again:?}");
    assert_eq!(again.iter().map(|(msg, _)| msg).collect::<BTreeSet<_>>().len(), 10);
    assert!(took < RERUN_WITHIN, "the rerun took {took:?}");
    db.until_settled().await;
    db.until_count("select count(*) from pubsub.processes", 1).await;
}

#[actix::test]
async fn late_answers_of_a_frozen_process_are_refused() {
    let db = TestDatabase::new().await;
    let child = victim(&db, 5).await;
    let (_survivor, mut received) = db.receive_attempts("shared").await;
    child.signal("STOP");
    assert_eq!(received.take(5).await.len(), 5);
    child.signal("CONT");
    db.until_settled().await;
    // The process notices, and works again under a new id.
    db.until_count("select count(*) from pubsub.processes", 2).await;
    publish(&db.client, &Sms::new("one more event")).await.unwrap();
}

#[actix::test]
async fn a_process_with_a_slow_handler_keeps_its_leases() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let limit = Duration::from_millis(300);
    let build = |sender: pubsub_tests::Sender<&'static str>, who: &'static str| {
        db.pubsub().heartbeat_interval(Duration::from_millis(50)).silence_limit(limit).subscribe_fn(
            "shared",
            move |_: Delivery<Sms>| {
                sender.send(who);
                async move {
                    tokio::time::sleep(limit * 10).await;
                    Ok(())
                }
            },
        )
    };
    let first = build(sender.clone(), "first").start().await.unwrap();
    let _second = build(sender, "second").start().await.unwrap();
    pubsub::publish(&first, &Sms::new("long")).await.unwrap();
    received.next().await;
    db.until_settled().await;
    assert!(received.rest().is_empty(), "the event ran once");
}
