//! The runtime's own actors are restarted when they panic, while events flow.

use pubsub::testing::{inject_panic, injected_panics_have_happened};
use pubsub::{Delivery, Failure, PubSub, PublishOptions, SubscribeOptions, publish, publish_with};
use pubsub_tests::{
    ChildProcess, DEADLINE, Sms, TestDatabase, connect, in_child_process, probe, sending, until,
};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const ACTORS: [&str; 5] = ["listener", "dispatcher", "scheduler", "heartbeat", "janitor"];

/// The number of events for each injected panic.
const EVENTS: usize = 20;

/// Runs in a process of its own, because a panic is injected into every actor of that name in its process.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_panics_in_its_actors() {
    let Some((url, report)) = in_child_process() else { return };
    let (sender, mut received) = probe();
    let pubsub = PubSub::builder(&url)
        .poll_interval(Duration::from_millis(100))
        .subscribe_fn("one", move |sms: Delivery<Sms>| {
            let sender = sender.clone();
            async move {
                // Every third event goes through the mailbox.
                if sms.attempt() == 1 && sms.msg.ends_with('3') {
                    return Err(Failure::retry_after(Duration::from_millis(20), "not yet"));
                }
                sender.send(sms.msg.clone());
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let client = connect(&url).await;
    let process: i64 = client.query_one("select id from pubsub.processes", &[]).await.unwrap().get(0);
    for round in 0..3 {
        for actor in ACTORS {
            inject_panic(actor);
            let mut missing = BTreeSet::new();
            for n in 0..EVENTS {
                let msg = format!("{round} {actor} {n}");
                publish(&client, &Sms::new(&msg)).await.unwrap();
                missing.insert(msg);
            }
            while !missing.is_empty() {
                missing.remove(&received.next().await);
            }
            // An actor that was not restarted does not panic again.
            let until = Instant::now() + DEADLINE / 2;
            while !injected_panics_have_happened() {
                assert!(Instant::now() < until, "the {actor} is gone");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            report(actor);
        }
    }
    let same: i64 = client.query_one("select id from pubsub.processes", &[]).await.unwrap().get(0);
    assert_eq!(same, process, "it was not declared dead");
    assert!(pubsub.drain(Duration::from_secs(30)).await);
    report("drained");
}

#[actix::test]
async fn any_actor_of_the_runtime_may_panic_while_events_flow() {
    let db = TestDatabase::new().await;
    let child = ChildProcess::start("supervision::own_actors::child_panics_in_its_actors", db.url());
    for _ in 0..3 {
        for actor in ACTORS {
            assert_eq!(child.next().await, actor);
        }
    }
    assert_eq!(child.next().await, "drained");
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
}

/// The number of claims that wait for a lock of this database.
const WAITING_CLAIMS: &str = "
    select count(*) from pg_locks
     where locktype = 'advisory' and not granted and database = (select oid from pg_database where datname = current_database())";

/// Runs in a process of its own, because a panic is injected into every actor of that name in its process.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_panics_during_a_claim() {
    let Some((url, report)) = in_child_process() else { return };
    let (sender, mut received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| (sms.msg.clone(), sms.attempt()));
    let pubsub = PubSub::builder(&url)
        .poll_interval(Duration::from_millis(100))
        .subscribe_fn("one", handler)
        .start()
        .await
        .unwrap();
    let (client, lock) = (connect(&url).await, connect(&url).await);
    publish(&client, &Sms::new("before")).await.unwrap();
    assert_eq!(received.next().await, ("before".into(), 1));

    lock.batch_execute("begin; select pg_advisory_xact_lock(hashtext('pubsub.claiming'), 1)").await.unwrap();
    publish(&client, &Sms::new("late")).await.unwrap();
    until(&client, &format!("select ({WAITING_CLAIMS}) = 1")).await;
    inject_panic("dispatcher");
    // The dispatcher that replaces it has looked for unknown claims once, before it claims.
    until(&client, &format!("select ({WAITING_CLAIMS}) = 2")).await;
    assert!(injected_panics_have_happened());
    // Now the first claim takes effect.
    lock.batch_execute("commit").await.unwrap();
    assert_eq!(received.next().await, ("late".into(), 1));
    assert!(pubsub.drain(Duration::from_secs(30)).await);
    report("drained");
}

#[actix::test]
async fn a_claim_that_outlives_its_dispatcher_is_returned() {
    let db = TestDatabase::new().await;
    let child = ChildProcess::start("supervision::own_actors::child_panics_during_a_claim", db.url());
    assert_eq!(child.next().await, "drained");
    db.until_settled().await;
}

/// More events than one claim asks for.
const MORE_THAN_A_CLAIM: i32 = 1000;

/// As above, with events of one key.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_loses_a_claim_of_a_key() {
    let Some((url, report)) = in_child_process() else { return };
    let (sender, mut received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
    let pubsub = PubSub::builder(&url)
        .poll_interval(Duration::from_millis(100))
        .subscribe_fn_with("one", SubscribeOptions::new().ordered().lanes(1).concurrency(1), handler)
        .start()
        .await
        .unwrap();
    let (mut client, lock) = (connect(&url).await, connect(&url).await);
    let options = PublishOptions::new().key("key");
    publish_with(&client, &Sms::new("before"), &options).await.unwrap();
    assert_eq!(received.next().await, "before");

    lock.batch_execute("begin; select pg_advisory_xact_lock(hashtext('pubsub.claiming') + 1, 1)")
        .await
        .unwrap();
    let transaction = client.transaction().await.unwrap();
    let events = "select pubsub.publish('sms', jsonb_build_object('msg', n::text), 'key') from generate_series(1, $1::int) n";
    transaction.execute(events, &[&MORE_THAN_A_CLAIM]).await.unwrap();
    transaction.commit().await.unwrap();
    until(&client, &format!("select ({WAITING_CLAIMS}) = 1")).await;
    inject_panic("dispatcher");
    until(&client, &format!("select ({WAITING_CLAIMS}) = 2")).await;
    assert!(injected_panics_have_happened());
    lock.batch_execute("commit").await.unwrap();
    for n in 1..=MORE_THAN_A_CLAIM {
        assert_eq!(received.next().await, n.to_string());
    }
    assert!(pubsub.drain(Duration::from_secs(30)).await);
    report("drained");
}

#[actix::test]
async fn nothing_overtakes_a_claim_whose_answer_is_lost() {
    let db = TestDatabase::new().await;
    let child = ChildProcess::start("supervision::own_actors::child_loses_a_claim_of_a_key", db.url());
    assert_eq!(child.next().await, "drained");
    db.until_settled().await;
}
