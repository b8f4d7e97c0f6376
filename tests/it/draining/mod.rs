//! Drain finishes started deliveries, returns the others, and leaves no row behind.

mod sigterm;

use pubsub::{Delivery, SubscribeOptions, publish_all};
use pubsub_tests::{Received, Sms, TestDatabase, probe, sending};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

#[actix::test]
async fn drain_finishes_started_deliveries_and_returns_the_others() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let finish = Arc::new(Semaphore::new(0));
    let gate = finish.clone();
    // The handler answers at once until it has received a full batch. Then it waits, so that deliveries queue behind it.
    let pubsub = db
        .pubsub()
        .subscribe_fn_with("one", SubscribeOptions::new().concurrency(1), move |sms: Delivery<Sms>| {
            let (sender, gate) = (sender.clone(), gate.clone());
            async move {
                sender.send(sms.msg.clone());
                if sms.msg.starts_with("slow") {
                    gate.acquire().await?.forget();
                }
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let mut events: Vec<Sms> = (0..400).map(|n| Sms::new(n.to_string())).collect();
    events.extend((0..400).map(|n| Sms::new(format!("slow {n}"))));
    publish_all(&db.client, &events).await.unwrap();
    while received.next().await != "slow 0" {}

    let draining = {
        let pubsub = pubsub.clone();
        actix::spawn(async move { pubsub.drain(Duration::from_secs(30)).await })
    };
    // They are returned at once, while the first is still running.
    db.until_count("select coalesce(sum(cardinality(event_ids)), 0)::bigint from pubsub.leases", 1).await;
    assert!(!draining.is_finished());
    finish.add_permits(1);
    assert!(draining.await.unwrap(), "every started delivery was finished");

    assert_eq!(received.rest(), Vec::<String>::new(), "no delivery started after the drain");
    assert_eq!(db.count("select count(*) from pubsub.leases").await, 0);
    assert_eq!(db.count("select count(*) from pubsub.processes").await, 0);
    assert_eq!(db.count("select count(*) from pubsub.waiters").await, 0);
    assert_eq!(db.count("select count(*) from pubsub.mailbox where attempt <> 0").await, 0);

    let (_next, mut received) = db.receive_attempts("one").await;
    let mut rest = received.take(399).await;
    rest.sort_by_key(|(msg, _)| msg.trim_start_matches("slow ").parse::<u32>().unwrap());
    let expected: Vec<_> = (1..400).map(|n| (format!("slow {n}"), 1)).collect();
    assert_eq!(rest, expected);
}

#[actix::test]
async fn drain_stops_at_its_deadline_and_the_rest_runs_again() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_fn("stuck", move |sms: Delivery<Sms>| {
            sender.send(sms.attempt());
            std::future::pending()
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.next().await, 1);
    assert!(!pubsub.drain(Duration::from_millis(50)).await, "the delivery was not finished");
    assert_eq!(db.count("select count(*) from pubsub.leases").await, 0, "but nothing is left claimed");
    assert!(matches!(pubsub::publish(&pubsub, &Sms::new("late")).await, Err(pubsub::Error::Stopped)));

    let (sender, mut received) = probe();
    let _next = db
        .pubsub()
        .subscribe_fn("stuck", sending(sender, |sms: Delivery<Sms>| sms.attempt()))
        .start()
        .await
        .unwrap();
    assert_eq!(received.next().await, 2, "the interrupted attempt counts");
}

/// Reports its end.
struct Reporting(pubsub_tests::Sender<&'static str>);

impl actix::Actor for Reporting {
    type Context = actix::Context<Self>;

    fn stopping(&mut self, _: &mut Self::Context) -> actix::Running {
        self.0.send("stopping");
        actix::Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.0.send("stopped");
    }
}

impl Drop for Reporting {
    fn drop(&mut self) {
        self.0.send("dropped");
    }
}

impl actix::Handler<Delivery<Sms>> for Reporting {
    type Result = pubsub::Handled;

    fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> pubsub::Handled {
        self.0.send("handled");
        Ok(())
    }
}

#[actix::test]
async fn drain_stops_the_handler_in_an_orderly_way() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub =
        db.pubsub().subscribe::<Sms, _>("mortal", move || Reporting(sender.clone())).start().await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.next().await, "handled");
    assert!(pubsub.drain(Duration::from_secs(10)).await);
    assert_eq!(received.rest(), ["stopping", "stopped", "dropped"]);
    assert!(pubsub.drain(Duration::ZERO).await, "a second drain returns the same");
}

/// Starts a runtime whose handler reports each delivery and never finishes it.
async fn never_finishing(db: &TestDatabase) -> (pubsub::PubSub, Received<()>) {
    let (sender, received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_fn("one", move |_: Delivery<Sms>| {
            sender.send(());
            std::future::pending()
        })
        .start()
        .await
        .unwrap();
    (pubsub, received)
}

#[test]
fn drain_reports_false_if_a_handler_is_gone() {
    let runner = actix::System::new();
    let (db, pubsub) = runner.block_on(async {
        let db = TestDatabase::new().await;
        let (pubsub, mut received) = never_finishing(&db).await;
        pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
        received.next().await;
        (db, pubsub)
    });
    // The system stops before its runtime, as with actix-web on a signal.
    actix::System::current().stop();
    runner.run().unwrap();
    let elsewhere = actix::System::new();
    assert!(!elsewhere.block_on(pubsub.drain(Duration::from_secs(5))), "one was started and never finished");
    drop(db);
}

#[actix::test]
async fn a_runtime_stops_when_its_last_handle_is_dropped() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = never_finishing(&db).await;
    let clone = pubsub.clone();
    drop(pubsub);
    pubsub::publish(&clone, &Sms::new("hello")).await.unwrap();
    received.next().await;
    drop(clone);
    db.until_count("select count(*) from pubsub.processes", 0).await;
    db.until_count("select count(*) from pubsub.leases", 0).await;
    db.until_count("select count(*) from pubsub.mailbox where attempt = 1", 1).await;
}

#[actix::test]
async fn rolling_restarts_lose_nothing_and_leave_no_lease() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let total = 2_000;
    let events: Vec<Sms> = (0..total).map(|n| Sms::new(n.to_string())).collect();
    let mut published = false;
    let mut seen = std::collections::BTreeSet::new();
    let mut round = 0;
    while seen.len() < total {
        let sender = sender.clone();
        let pubsub = db
            .pubsub()
            .subscribe_fn("rolling", move |sms: Delivery<Sms>| {
                let sender = sender.clone();
                async move {
                    tokio::task::yield_now().await;
                    sender.send(sms.msg.clone());
                    Ok(())
                }
            })
            .start()
            .await
            .unwrap();
        if !published {
            publish_all(&db.client, &events).await.unwrap();
            published = true;
        }
        for _ in 0..fastrand::usize(1..300).min(total - seen.len()) {
            assert!(seen.insert(received.next().await), "without a crash no delivery runs twice");
        }
        assert!(pubsub.drain(Duration::from_secs(30)).await);
        assert_eq!(db.count("select count(*) from pubsub.leases").await, 0);
        for msg in received.rest() {
            assert!(seen.insert(msg), "without a crash no delivery runs twice");
        }
        round += 1;
        assert!(round < 2_000);
    }
    assert_eq!(db.count("select count(*) from pubsub.mailbox").await, 0);
}
