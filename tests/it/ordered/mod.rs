//! An ordered subscription handles the events of one key in order, and a failing key delays only itself.

mod moved;
mod parking;

use pubsub::{Delivery, Failure, PubSub, PublishOptions, SubscribeOptions, publish_with};
use pubsub_tests::{
    ChildProcess, DEADLINE, Received, Sender, Sms, SqlSubscriber, TestDatabase, connect, in_child_process,
    probe,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::Client;

fn ordered() -> SubscribeOptions {
    SubscribeOptions::new().ordered()
}

/// Publishes event `n` of a key.
async fn publish(client: &Client, key: &str, n: usize) {
    publish_as(client, key, &format!("{key}:{n}")).await;
}

async fn publish_as(client: &Client, key: &str, msg: &str) {
    publish_with(client, &Sms::new(msg), &PublishOptions::new().key(key)).await.unwrap();
}

/// The key and the number of an event.
fn place(sms: &Sms) -> (String, usize) {
    let (key, n) = sms.msg.split_once(':').expect("key:n");
    (key.to_owned(), n.parse().expect("a number"))
}

/// A step of a handler.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Begins,
    Ends,
}

/// Checks that a delivery starts only after all earlier events of its key have succeeded. A delivery may be repeated.
#[derive(Debug, Default)]
struct Checker {
    ended: HashMap<String, usize>,
}

impl Checker {
    fn see(&mut self, act: Step, key: &str, n: usize) {
        let ended = self.ended.entry(key.to_owned()).or_default();
        match act {
            Step::Begins => assert!(n <= *ended, "{key}:{n} begins, and only {ended} have ended"),
            Step::Ends => *ended = (*ended).max(n + 1),
        }
    }
}

/// Starts a runtime whose slow handler reports when a delivery starts and when it finishes.
async fn slow(
    db: &TestDatabase,
    options: SubscribeOptions,
    fails: fn(&Delivery<Sms>) -> bool,
) -> (PubSub, Received<(Step, String, usize)>) {
    let (sender, received): (Sender<(Step, String, usize)>, _) = probe();
    let handle = move |sms: Delivery<Sms>| {
        let sender = sender.clone();
        async move {
            let (key, n) = place(&sms);
            sender.send((Step::Begins, key.clone(), n));
            tokio::time::sleep(Duration::from_millis(3).mul_f64(fastrand::f64())).await;
            if fails(&sms) {
                return Err(Failure::retry("not yet"));
            }
            sender.send((Step::Ends, key, n));
            Ok(())
        }
    };
    let pubsub = db.pubsub().subscribe_fn_with("ordered", options, handle).start().await.unwrap();
    (pubsub, received)
}

#[actix::test]
async fn events_of_one_key_are_handled_in_publish_order() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = slow(&db, ordered(), |_| false).await;
    for n in 0..30 {
        for key in ["a", "b", "c", "d", "e"] {
            publish(&db.client, key, n).await;
        }
    }
    let (mut checker, mut at_work, mut peak) = (Checker::default(), BTreeSet::new(), 0);
    for (act, key, n) in received.take(2 * 5 * 30).await {
        checker.see(act, &key, n);
        match act {
            Step::Begins => assert!(at_work.insert(key), "two events of one key at once"),
            Step::Ends => assert!(at_work.remove(&key)),
        }
        peak = peak.max(at_work.len());
    }
    assert!(peak > 1, "keys are handled concurrently");
    db.until_settled().await;
}

#[actix::test]
async fn events_without_a_key_are_handled_concurrently() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let gate = Arc::new(tokio::sync::Barrier::new(4));
    let handle = move |sms: Delivery<Sms>| {
        let (sender, gate) = (sender.clone(), gate.clone());
        async move {
            gate.wait().await;
            sender.send(sms.msg.clone());
            Ok(())
        }
    };
    let pubsub = db.pubsub().subscribe_fn_with("ordered", ordered(), handle).start().await.unwrap();
    for n in 0..4 {
        pubsub::publish(&pubsub, &Sms::new(n.to_string())).await.unwrap();
    }
    received.take(4).await;
}

#[actix::test]
async fn a_failing_key_delays_only_its_own_later_events() {
    let db = TestDatabase::new().await;
    // The key "bad" fails until this is set.
    static MAY_SUCCEED: AtomicBool = AtomicBool::new(false);
    let options = ordered().max_attempts(1_000);
    let fails = |sms: &Delivery<Sms>| sms.msg == "bad:0" && !MAY_SUCCEED.load(Ordering::Relaxed);
    let (_pubsub, mut received) = slow(&db, options, fails).await;
    for n in 0..20 {
        publish(&db.client, "bad", n).await;
        publish(&db.client, "good", n).await;
    }
    let (mut checker, mut good) = (Checker::default(), 0);
    while good < 20 {
        let (act, key, n) = received.next().await;
        checker.see(act, &key, n);
        good += usize::from(key == "good" && act == Step::Ends);
    }
    let parked = "select count(*) from pubsub.mailbox where due_at = 'infinity'";
    db.until_count(parked, 19).await;
    assert_eq!(
        db.count("select count(*) from pubsub.mailbox where attempt > 0").await,
        1,
        "no attempt was burned"
    );

    MAY_SUCCEED.store(true, Ordering::Relaxed);
    let mut bad = 0;
    while bad < 20 {
        let (act, key, n) = received.next().await;
        checker.see(act, &key, n);
        bad += usize::from(key == "bad" && act == Step::Ends);
    }
    db.until_settled().await;
}

#[actix::test]
async fn a_key_goes_on_after_a_dead_letter() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handle = move |sms: Delivery<Sms>| {
        let (_, n) = place(&sms);
        sender.send((n, sms.attempt()));
        std::future::ready(match n {
            1 => Err(Failure::reject("never")),
            3 => Err(Failure::retry("no")),
            _ => Ok(()),
        })
    };
    let options = ordered().max_attempts(2);
    let _pubsub = db.pubsub().subscribe_fn_with("ordered", options, handle).start().await.unwrap();
    for n in 0..6 {
        publish(&db.client, "a", n).await;
    }
    let received = received.take(7).await;
    assert_eq!(received, [(0, 1), (1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (5, 1)]);
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 2);
}

/// Records when a delivery starts and finishes, and fails now and then.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_records_deliveries_in_order() {
    let Some((url, report)) = in_child_process() else { return };
    let client = Arc::new(connect(&url).await);
    let note = "insert into public.book (act, key, n) values ($1, $2, $3)";
    let handle = move |sms: Delivery<Sms>| {
        let client = client.clone();
        async move {
            let (key, n) = place(&sms);
            let n = n as i32;
            client.execute(note, &[&"begins", &key, &n]).await?;
            tokio::time::sleep(Duration::from_millis(5).mul_f64(fastrand::f64())).await;
            if fastrand::u8(..) < 8 {
                return Err(Failure::retry_after(Duration::from_millis(fastrand::u64(..20)), "bad luck"));
            }
            client.execute(note, &[&"ends", &key, &n]).await?;
            Ok(())
        }
    };
    let options = ordered().max_attempts(1_000);
    let pubsub = PubSub::builder(url).subscribe_fn_with("ordered", options, handle).start().await.unwrap();
    report(&std::process::id().to_string());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    terminate.recv().await;
    assert!(pubsub.drain(DEADLINE / 2).await);
}

/// The number of processes that are killed or drained. Set the variable for a longer run.
fn rounds() -> usize {
    let rounds = std::env::var("PUBSUB_ORDER_ROUNDS").ok();
    rounds.map_or(6, |rounds| rounds.parse().expect("PUBSUB_ORDER_ROUNDS is a number"))
}

#[actix::test]
async fn key_order_survives_retries_crashes_drains_and_lane_changes() {
    const KEYS: usize = 40;
    let db = TestDatabase::new().await;
    let book = "create table book (id bigserial primary key, act text not null, key text not null, n integer not null)";
    db.client.batch_execute(book).await.unwrap();
    let (pubsub, _) = slow(&db, ordered(), |_| false).await;
    assert!(pubsub.drain(DEADLINE).await);

    let over = Arc::new(AtomicBool::new(false));
    let publishing = actix::spawn({
        let (url, over) = (db.url().to_owned(), over.clone());
        async move {
            let client = connect(&url).await;
            let mut counts = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                let key = format!("k{}", fastrand::usize(..KEYS));
                let n = counts.entry(key.clone()).or_insert(0);
                publish(&client, &key, *n).await;
                *n += 1;
                if fastrand::u8(..) < 64 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            counts
        }
    });
    let start = || ChildProcess::start("ordered::child_records_deliveries_in_order", db.url());
    let mut children = vec![start(), start(), start()];
    for round in 0..rounds() {
        let mut child = children.remove(0);
        child.next().await;
        children.push(start());
        tokio::time::sleep(Duration::from_millis(500).mul_f64(fastrand::f64())).await;
        if round % 3 == 2 {
            let lanes = format!(
                "select pubsub.subscribe('sms', 'ordered', 1000, lanes => {}) from pubsub.channels limit 1",
                fastrand::i32(1..12)
            );
            db.client.batch_execute(&lanes).await.unwrap();
        }
        child.signal(if round % 2 == 0 { "KILL" } else { "TERM" });
        child.exited().await;
    }
    over.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap();
    let count: usize = published.values().sum();
    let ended = "select count(distinct (key, n)) from book where act = 'ends'";
    db.until_count(ended, count as i64).await;
    db.until_settled().await;

    let mut checker = Checker::default();
    for row in db.client.query("select act, key, n from book order by id", &[]).await.unwrap() {
        let act = if row.get::<_, &str>(0) == "begins" { Step::Begins } else { Step::Ends };
        checker.see(act, row.get(1), row.get::<_, i32>(2) as usize);
    }
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
    for child in children {
        child.next().await;
        child.signal("TERM");
    }
}

/// A claim that asks for fewer events than there are lanes finds the lane with the event.
#[actix::test]
async fn a_claim_of_one_event_finds_it_in_any_lane() {
    let db = TestDatabase::new().await;
    db.client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    db.client.batch_execute("select pubsub.subscribe('sms', 'ordered', lanes => 8)").await.unwrap();
    let subscriber = SqlSubscriber::register(&db.client, "ordered").await.unwrap();
    for n in 0..50 {
        publish(&db.client, &format!("key-{n}"), 0).await;
        let claimed = subscriber.claim(1).await.unwrap();
        assert_eq!(claimed.len(), 1, "the event of key-{n} was passed over");
        assert!(subscriber.settle(claimed[0].token).await.unwrap());
    }
}

/// The number of lanes of each process.
const SHARES: &str = "select coalesce(string_agg(n::text, ',' order by n), '') from (select count(*) as n from pubsub.lanes where process is not null group by process) s";

async fn until_shares(db: &TestDatabase, expected: &str) {
    db.until_count(&format!("select count(*) from ({SHARES}) s (shares) where shares = '{expected}'"), 1)
        .await;
}

#[actix::test]
async fn lanes_are_balanced_when_a_process_joins_drains_or_dies() {
    let db = TestDatabase::new().await;
    let (first, _received) = slow(&db, ordered(), |_| false).await;
    until_shares(&db, "8").await;
    let (second, _received) = slow(&db, ordered(), |_| false).await;
    until_shares(&db, "4,4").await;
    let (third, _received) = slow(&db, ordered(), |_| false).await;
    until_shares(&db, "2,3,3").await;
    assert!(first.drain(DEADLINE).await);
    until_shares(&db, "4,4").await;
    // As if it had died.
    db.witness().await;
    db.client
        .batch_execute(
            "update pubsub.processes set beat_at = 'epoch' where id = (select max(id) from pubsub.processes where host <> 'witness')",
        )
        .await
        .unwrap();
    db.client.batch_execute("select pubsub.reclaim('10 s')").await.unwrap();
    until_shares(&db, "4,4").await;
    assert!(second.drain(DEADLINE).await);
    until_shares(&db, "8").await;
    drop(third);
}

#[actix::test]
async fn changing_the_number_of_lanes_loses_and_reorders_nothing() {
    let db = TestDatabase::new().await;
    let mut next = 0;
    let mut checker = Checker::default();
    // Unordered, ordered, more lanes, fewer lanes, unordered again.
    for lanes in [None, Some(8), Some(13), Some(2), None, Some(1)] {
        for n in next..next + 20 {
            for key in ["a", "b", "c"] {
                // The channel is undeclared before the first start.
                db.client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
                publish(&db.client, key, n).await;
            }
        }
        let options = lanes.map_or_else(SubscribeOptions::new, |lanes| ordered().lanes(lanes));
        let (pubsub, mut received) = slow(&db, options, |_| false).await;
        // Events from before the first subscription are not delivered to it.
        let from = if next == 0 { 20 } else { next };
        if next == 0 {
            for n in 20..40 {
                for key in ["a", "b", "c"] {
                    publish(&db.client, key, n).await;
                }
            }
            checker.ended = ["a", "b", "c"].map(|key| (key.to_owned(), 20)).into();
        }
        next = from + 20;
        let acts = received.take(2 * 3 * 20).await;
        for (act, key, n) in acts {
            assert!((from..next).contains(&n));
            if lanes.is_some() || act == Step::Ends {
                checker.see(act, &key, n);
            }
        }
        db.until_settled().await;
        assert!(pubsub.drain(DEADLINE).await);
    }
    assert_eq!(db.count("select lanes::bigint from pubsub.subscriptions").await, 1);
}
