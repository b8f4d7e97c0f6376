//! Processes that drain on SIGTERM under load lose nothing, repeat nothing and leave no lease behind.

use pubsub::{Delivery, PubSub, publish_all};
use pubsub_tests::{ChildProcess, DEADLINE, Sms, TestDatabase, connect, in_child_process};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The number of rounds. Set the variable for a longer run.
fn rounds() -> u32 {
    let rounds = std::env::var("PUBSUB_STORM_ROUNDS").ok();
    rounds.map_or(20, |rounds| rounds.parse().expect("PUBSUB_STORM_ROUNDS is a number"))
}

/// Records every delivery. Drains on SIGTERM, then exits.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_drains_on_sigterm() {
    let Some((url, report)) = in_child_process() else { return };
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let client = Arc::new(connect(&url).await);
    let handle = move |sms: Delivery<Sms>| {
        let client = client.clone();
        async move {
            tokio::time::sleep(Duration::from_millis(20).mul_f64(fastrand::f64())).await;
            let attempt = sms.attempt().cast_signed();
            client.execute("insert into public.book values ($1, $2)", &[&sms.msg, &attempt]).await?;
            Ok(())
        }
    };
    let pubsub = PubSub::builder(url).subscribe_fn("shared", handle).start().await.unwrap();
    report(&std::process::id().to_string());
    terminate.recv().await;
    assert!(pubsub.drain(DEADLINE / 2).await, "every started delivery was finished");
}

/// Publishes at random until `over` is set. Returns the number of events.
async fn publish_meanwhile(url: String, over: Arc<AtomicBool>) -> usize {
    let client = connect(&url).await;
    let mut published = 0;
    while !over.load(Ordering::Relaxed) {
        let some = fastrand::usize(1..=10);
        let events: Vec<Sms> = (published..published + some).map(|n| Sms::new(n.to_string())).collect();
        publish_all(&client, &events).await.unwrap();
        published += some;
        tokio::time::sleep(Duration::from_millis(20).mul_f64(fastrand::f64())).await;
    }
    published
}

#[actix::test]
async fn many_sigterms_lose_repeat_and_leave_nothing() {
    let db = TestDatabase::new().await;
    db.client.batch_execute("create table book (msg text not null, attempt integer not null)").await.unwrap();
    let pubsub =
        db.pubsub().subscribe_fn("shared", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(DEADLINE).await);
    let over = Arc::new(AtomicBool::new(false));
    let publishing = actix::spawn(publish_meanwhile(db.url().to_owned(), over.clone()));

    let start = || ChildProcess::start("draining::sigterm::child_drains_on_sigterm", db.url());
    // One process works while the other drains.
    let mut next = start();
    for round in 0..rounds() {
        let mut child = std::mem::replace(&mut next, start());
        let pid = child.next().await;
        let id = db.count(&format!("select id from pubsub.processes where os_pid = {pid}")).await;
        tokio::time::sleep(Duration::from_millis(200).mul_f64(fastrand::f64())).await;
        child.signal("TERM");
        let status = child.exited().await;
        assert!(status.success(), "round {round}: {status}");
        let rest = format!(
            "select (select count(*) from pubsub.leases where process = {id}) \
                  + (select count(*) from pubsub.processes where id = {id}) \
                  + (select count(*) from pubsub.waiters where process = {id})"
        );
        assert_eq!(db.count(&rest).await, 0, "round {round}: something is left of process {id}");
    }
    over.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap() as i64;
    db.until_count("select count(distinct msg) from book", published).await;
    db.until_settled().await;

    assert_eq!(db.count("select count(*) from book").await, published, "each event ran once");
    assert_eq!(db.count("select count(*) from book where attempt <> 1").await, 0, "no attempt was burned");
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
    next.signal("TERM");
    // It may not have started to work, in which case it does not catch the signal.
    next.exited().await;
}
