//! A dead process is replaced within seconds, and a live one is not declared dead, at default settings.

mod crash;
mod fencing;
mod living;
mod poison;
mod suspects;

use pubsub::testing::{Database, Mode, Server};
use pubsub::{Delivery, Failure, PubSub, publish, publish_all};
use pubsub_tests::{
    ChildProcess, DEADLINE, Sender, Sms, TestDatabase, connect, in_child_process, probe, sending,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// The longest time between two cuts of a session.
const BETWEEN_CUTS: Duration = Duration::from_millis(300);

/// Returns `count` numbered events.
fn numbered(from: usize, count: usize) -> Vec<Sms> {
    (from..from + count).map(|n| Sms::new(n.to_string())).collect()
}

/// The ids of the registered processes.
async fn processes(db: &TestDatabase) -> Vec<i64> {
    let ids = "select coalesce(array_agg(id order by id), '{}') from pubsub.processes";
    db.client.query_one(ids, &[]).await.unwrap().get(0)
}

/// Starts every delivery and finishes none.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_starts_deliveries_and_never_finishes() {
    let Some((url, report)) = in_child_process() else { return };
    let _pubsub = PubSub::builder(url)
        .subscribe_fn("shared", move |sms: Delivery<Sms>| {
            report(&sms.msg);
            std::future::pending()
        })
        .start()
        .await
        .unwrap();
    std::future::pending::<()>().await;
}

/// A silence limit that this test never reaches: only the end of the session reveals the death.
const SILENCE: Duration = Duration::from_secs(3_600);

#[actix::test]
async fn a_killed_process_is_noticed_before_its_silence_limit() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let _survivor = db
        .pubsub()
        .heartbeat_interval(Duration::from_secs(1))
        .silence_limit(SILENCE)
        .subscribe_fn("shared", sending(sender, |sms: Delivery<Sms>| (sms.msg.clone(), sms.attempt())))
        .start()
        .await
        .unwrap();
    let mut child = ChildProcess::start("recovery::child_starts_deliveries_and_never_finishes", db.url());
    db.until_count("select count(*) from pubsub.processes", 2).await;

    // Either process may claim them. This repeats until the child has its share.
    let (mut started, mut published) = (BTreeSet::new(), 0);
    let until = Instant::now() + DEADLINE;
    while started.len() < 8 {
        assert!(Instant::now() < until, "the child gets no work");
        publish_all(&db.client, &numbered(published, 20)).await.unwrap();
        published += 20;
        while let Ok(msg) = tokio::time::timeout(Duration::from_millis(20), child.next()).await {
            started.insert(msg);
        }
    }
    child.signal("KILL");
    child.exited().await;
    while !started.is_empty() {
        let (msg, attempt) = received.next().await;
        assert!(!started.remove(&msg) || attempt == 2, "the lost attempt of {msg} counts");
    }
    db.until_settled().await;
    db.until_count("select count(*) from pubsub.dead_letters", 0).await;
}

/// Starts a runtime whose handler reports each attempt and needs a permit to finish.
async fn gated(url: &str, sender: Sender<(String, u32)>, gate: Arc<Semaphore>) -> PubSub {
    let handle = move |sms: Delivery<Sms>| {
        let (sender, gate) = (sender.clone(), gate.clone());
        async move {
            sender.send((sms.msg.clone(), sms.attempt()));
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    PubSub::builder(url).subscribe_fn("shared", handle).start().await.unwrap()
}

#[actix::test]
async fn a_process_with_a_flaky_session_keeps_its_leases() {
    let db = TestDatabase::new().await;
    let ((sender, mut received), gate) = (probe(), Arc::new(Semaphore::new(0)));
    let first = gated(db.url(), sender.clone(), gate.clone()).await;
    pubsub::publish(&first, &Sms::new("long")).await.unwrap();
    assert_eq!(received.next().await, ("long".into(), 1));
    let victim = processes(&db).await[0];
    let _second = gated(db.url(), sender, gate.clone()).await;
    let both = processes(&db).await;

    // For several grace periods, soon after each reconnection.
    let cutting = Instant::now();
    let (mut cuts, mut last) = (0, 0);
    while cutting.elapsed() < Duration::from_secs(3) || cuts < 10 {
        assert!(cutting.elapsed() < DEADLINE, "only {cuts} cuts");
        let cut = "select session_pid, pg_terminate_backend(session_pid) from pubsub.processes \
                   where id = $1 and session_pid <> $2";
        if let Some(row) = db.client.query_opt(cut, &[&victim, &last]).await.unwrap() {
            last = row.get::<_, i32>(0);
            cuts += 1;
            tokio::time::sleep(BETWEEN_CUTS.mul_f64(fastrand::f64())).await;
        }
        assert_eq!(processes(&db).await, both, "a process was declared dead after {cuts} cuts");
    }
    gate.add_permits(100);
    db.until_settled().await;
    assert_eq!(received.rest(), [], "the event ran once");
    assert_eq!(processes(&db).await, both);
}

/// Restarts the server under two processes with running handlers. The restart is over before the handlers are. Returns the
/// deliveries that ran, once everything is settled.
async fn restarted_under(mode: Mode) -> Vec<(String, u32)> {
    let mut server = tokio::task::spawn_blocking(Server::start).await.unwrap().unwrap();
    let database = Database::create_on(&server.url("postgres")).await.unwrap();
    let mut db = TestDatabase { client: connect(database.url()).await, database };
    let ((sender, mut received), gate) = (probe(), Arc::new(Semaphore::new(0)));
    let _first = gated(db.url(), sender.clone(), gate.clone()).await;
    let _second = gated(db.url(), sender, gate.clone()).await;
    // As many as two handlers hold.
    publish_all(&db.client, &numbered(0, 24)).await.unwrap();
    let mut ran = received.take(24).await;
    let holders = "select count(distinct process) from pubsub.leases";
    assert!(db.count(holders).await >= 1);
    let both = processes(&db).await;

    let server = tokio::task::spawn_blocking(move || server.restart(mode).map(|()| server));
    let _server = server.await.unwrap().unwrap();
    db.client = connect(db.url()).await;
    // Long enough for each process to miss the other.
    db.until_count(
        "select count(*) from pubsub.processes where beat_at > pg_postmaster_start_time() + interval '2 s'",
        2,
    )
    .await;
    assert_eq!(processes(&db).await, both, "no process was declared dead");
    let crashes = "select (select count(*) from pubsub.mailbox where crashes > 0) \
                        + (select count(*) from pubsub.dead_letters)";
    assert_eq!(db.count(crashes).await, 0);
    gate.add_permits(1_000);
    publish(&db.client, &Sms::new("afterwards")).await.unwrap();
    while !ran.iter().any(|(msg, _)| msg == "afterwards") {
        ran.push(received.next().await);
    }
    db.until_settled().await;
    assert_eq!(processes(&db).await, both, "no process was declared dead");
    ran.extend(received.rest());
    ran
}

#[actix::test]
async fn a_server_restart_declares_no_live_process_dead() {
    let ran = restarted_under(Mode::Fast).await;
    assert!(ran.iter().all(|(_, attempt)| *attempt == 1), "{ran:?}");
    assert_eq!(ran.len(), 25, "each event ran once: {ran:?}");
}

#[actix::test]
async fn a_server_crash_declares_no_live_process_dead() {
    let ran = restarted_under(Mode::Immediate).await;
    // A claim that had not reached the disk is repeated, again as the first attempt.
    assert!(ran.iter().all(|(_, attempt)| *attempt == 1), "{ran:?}");
    assert_eq!(ran.iter().map(|(msg, _)| msg).collect::<BTreeSet<_>>().len(), 25);
}

/// Answers one delivery when its work is done, and another when it learns that its lease is lost.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_answers_late() {
    let Some((url, report)) = in_child_process() else { return };
    let handle = move |sms: Delivery<Sms>| {
        let report = report.clone();
        async move {
            report(&format!("begins {}", sms.msg));
            let started = Instant::now();
            if sms.msg == "watches" {
                while sms.is_current() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } else {
                while started.elapsed() < Duration::from_secs(3) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            report(&format!("answers {}", sms.msg));
            Ok(())
        }
    };
    let _pubsub = PubSub::builder(url).subscribe_fn("shared", handle).start().await.unwrap();
    std::future::pending::<()>().await;
}

#[actix::test]
async fn a_frozen_process_is_replaced_and_learns_of_it() {
    let db = TestDatabase::new().await;
    // The subscription exists before the first event. The second process starts when the child has both events.
    let pubsub =
        db.pubsub().subscribe_fn("shared", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(DEADLINE).await);
    let child = ChildProcess::start("recovery::child_answers_late", db.url());
    db.until_count("select count(*) from pubsub.processes", 1).await;
    publish_all(&db.client, &[Sms::new("works"), Sms::new("watches")]).await.unwrap();
    let started = BTreeSet::from([child.next().await, child.next().await]);
    assert_eq!(started, BTreeSet::from(["begins works".into(), "begins watches".into()]));
    child.signal("STOP");
    let stopped = Instant::now();
    let frozen = processes(&db).await[0];

    let ((sender, mut received), gate) = (probe(), Arc::new(Semaphore::new(0)));
    let permits = gate.clone();
    let _survivor = db
        .pubsub()
        .subscribe_fn("shared", move |sms: Delivery<Sms>| {
            let (sender, gate) = (sender.clone(), permits.clone());
            async move {
                sender.send((sms.msg.clone(), sms.attempt()));
                gate.acquire().await?.forget();
                // If a late answer counted as this one's, this rejection would have no effect.
                Err(Failure::reject("by the surviving process"))
            }
        })
        .start()
        .await
        .unwrap();
    let again = BTreeSet::from([received.next().await, received.next().await]);
    assert_eq!(again, BTreeSet::from([("works".into(), 2), ("watches".into(), 2)]));
    assert!(stopped.elapsed() < Duration::from_secs(10), "took {:?}", stopped.elapsed());

    child.signal("CONT");
    let answered = BTreeSet::from([child.next().await, child.next().await]);
    assert_eq!(answered, BTreeSet::from(["answers works".into(), "answers watches".into()]));
    // The process is back under another id, without what it held under the old one.
    db.until_count("select count(*) from pubsub.processes", 2).await;
    assert!(!processes(&db).await.contains(&frozen));
    assert_eq!(db.count("select count(*) from pubsub.mailbox where token is not null").await, 2);
    gate.add_permits(2);
    db.until_count("select count(*) from pubsub.dead_letters where reason = 'rejected'", 2).await;
    db.until_settled().await;
    assert_eq!(received.rest(), [], "no event ran a third time");
}
