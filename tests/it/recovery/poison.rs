//! An event that kills its process, or panics its handler, is given up after three times. No other event is.

use pubsub::{Delivery, PubSub, publish_all};
use pubsub_tests::{ChildProcess, DEADLINE, Sms, TestDatabase, connect, in_child_process, probe};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The number of events, and one in how many of them is poison. A long run has more events and less poison.
fn events_and_poison_rate() -> (usize, usize) {
    match std::env::var("PUBSUB_POISON_EVENTS") {
        Ok(events) => (events.parse().expect("PUBSUB_POISON_EVENTS is a number"), 1_000),
        Err(_) => (300, 100),
    }
}

/// The number of processes that handle the events.
const PROCESSES: usize = 3;

/// Dies of a poison event, and records every other one.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_dies_of_poison() {
    let Some((url, _)) = in_child_process() else { return };
    let client = std::sync::Arc::new(connect(&url).await);
    let handle = move |sms: Delivery<Sms>| {
        let client = client.clone();
        async move {
            if sms.msg.starts_with("poison") {
                std::process::abort();
            }
            client.execute("insert into public.book values ($1)", &[&sms.msg]).await?;
            Ok(())
        }
    };
    let _pubsub = PubSub::builder(url).subscribe_fn("shared", handle).start().await.unwrap();
    std::future::pending::<()>().await;
}

#[actix::test]
async fn a_poison_event_kills_three_processes_and_costs_no_other() {
    let (count, one_in) = events_and_poison_rate();
    let db = TestDatabase::new().await;
    db.client.batch_execute("create table book (msg text not null)").await.unwrap();
    let pubsub =
        db.pubsub().subscribe_fn("shared", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(DEADLINE).await);
    let is_poison = |n: &usize| n % one_in == one_in / 2;
    let poisons = (0..count).filter(is_poison).count();
    let events: Vec<Sms> = (0..count)
        .map(|n| Sms::new(if is_poison(&n) { format!("poison {n}") } else { n.to_string() }))
        .collect();
    publish_all(&db.client, &events).await.unwrap();

    let start = || ChildProcess::start("recovery::poison::child_dies_of_poison", db.url());
    let mut children: Vec<ChildProcess> = (0..PROCESSES).map(|_| start()).collect();
    let mut deaths = 0;
    let mut until = Instant::now() + DEADLINE;
    let dead = "select count(*) from pubsub.dead_letters";
    let open = format!(
        "select {} - (select count(distinct msg) from book) - ({dead}) + (select count(*) from pubsub.mailbox)",
        events.len()
    );
    while db.count(&open).await > 0 {
        for child in &mut children {
            if tokio::time::timeout(Duration::from_millis(10), child.exited()).await.is_ok() {
                *child = start();
                deaths += 1;
                // The deadline is for the time between two deaths.
                until = Instant::now() + DEADLINE;
            }
        }
        assert!(Instant::now() < until, "after {deaths} deaths: {} open", db.count(&open).await);
    }
    db.until_settled().await;

    assert!(deaths <= 3 * poisons, "{deaths} deaths from {poisons} poison events");
    assert_eq!(db.count("select count(distinct msg) from book").await as usize, count - poisons);
    assert_eq!(db.count(dead).await as usize, poisons);
    let crashed = format!(
        "{dead} where reason = 'crashed' and crashes = 3 and attempt = 3 and payload ->> 'msg' like 'poison %'"
    );
    assert_eq!(db.count(&crashed).await as usize, poisons);
}

/// The longest time that an event of one subscription waits for one of another.
const TOGETHER: Duration = Duration::from_secs(1);

/// Has two subscriptions. A poison event of the one waits for an event of the other to start, which waits for the death.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_dies_beside_another_subscription() {
    let Some((url, _)) = in_child_process() else { return };
    let client = std::sync::Arc::new(connect(&url).await);
    let started = std::sync::Arc::new(tokio::sync::Notify::new());
    let seen = started.clone();
    let deadly = move |_: Delivery<Sms>| {
        let seen = seen.clone();
        async move {
            tokio::time::timeout(TOGETHER, seen.notified()).await.unwrap_or_default();
            std::process::abort();
            #[expect(unreachable_code, reason = "the type of the handler's future")]
            Ok(())
        }
    };
    let innocent = move |sms: Delivery<Sms>| {
        let (client, started) = (client.clone(), started.clone());
        async move {
            started.notify_one();
            tokio::time::sleep(TOGETHER).await;
            client.execute("insert into public.book values ($1)", &[&sms.msg]).await?;
            Ok(())
        }
    };
    let builder = PubSub::builder(url).subscribe_fn("deadly", deadly).subscribe_fn("innocent", innocent);
    let _pubsub = builder.start().await.unwrap();
    std::future::pending::<()>().await;
}

#[actix::test]
async fn a_poison_event_costs_no_event_of_another_subscription() {
    let db = TestDatabase::new().await;
    db.client.batch_execute("create table book (msg text not null)").await.unwrap();
    let ignore = |_: Delivery<Sms>| async { Ok(()) };
    let builder = db.pubsub().subscribe_fn("deadly", ignore).subscribe_fn("innocent", ignore);
    assert!(builder.start().await.unwrap().drain(DEADLINE).await);
    pubsub::publish(&db.client, &Sms::new("one")).await.unwrap();

    let start = || ChildProcess::start("recovery::poison::child_dies_beside_another_subscription", db.url());
    let mut child = start();
    let mut until = Instant::now() + DEADLINE;
    let open =
        "select 2 - (select count(distinct msg) from book) - (select count(*) from pubsub.dead_letters)";
    while db.count(open).await > 0 {
        if tokio::time::timeout(Duration::from_millis(10), child.exited()).await.is_ok() {
            child = start();
            until = Instant::now() + DEADLINE;
        }
        assert!(Instant::now() < until, "{} open", db.count(open).await);
    }
    let deadly = "select count(*) from pubsub.observed_dead_letters where subscription = 'deadly'";
    assert_eq!(db.count(deadly).await, 1);
    assert_eq!(
        db.count("select count(*) from book").await,
        1,
        "the other subscription's delivery is handled"
    );
}

#[actix::test]
async fn an_event_that_panics_three_times_is_a_dead_letter() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_fn("one", move |sms: Delivery<Sms>| {
            let sender = sender.clone();
            async move {
                assert!(sms.msg != "panic", "the handler broke");
                sender.send(sms.msg.clone());
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let mut events: Vec<Sms> = (0..20).map(|n| Sms::new(n.to_string())).collect();
    events.insert(10, Sms::new("panic"));
    publish_all(&db.client, &events).await.unwrap();

    let panicked =
        "select count(*) from pubsub.dead_letters where reason = 'panicked' and panics = 3 and crashes = 0";
    db.until_count(panicked, 1).await;
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 1);
    assert_eq!(pubsub.handlers()[0].dead, 1);
    let handled: BTreeSet<String> = received.rest().into_iter().collect();
    assert_eq!(handled, (0..20).map(|n| n.to_string()).collect());
}
