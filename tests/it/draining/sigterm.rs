//! Storms of SIGTERM: processes that drain under load, at random times, leave nothing claimed, lose nothing, repeat nothing.

use pubsub::{Delivery, PubSub, publish_all};
use pubsub_tests::{DEADLINE, Role, Sms, Stage, connect, play};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// How often. More for a long run.
fn rounds() -> u32 {
    let rounds = std::env::var("PUBSUB_STORM_ROUNDS").ok();
    rounds.map_or(20, |rounds| rounds.parse().expect("PUBSUB_STORM_ROUNDS is a number"))
}

/// Keeps a book of what it handles. On SIGTERM it drains, and ends.
#[actix::test]
#[ignore = "a role, started by other tests"]
async fn role_drains_on_sigterm() {
    let Some((url, tell)) = play() else { return };
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
    tell(&std::process::id().to_string());
    terminate.recv().await;
    assert!(pubsub.drain(DEADLINE / 2).await, "all that had begun was finished");
}

/// Publishes at random until it is over. Returns how many events there were.
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
async fn a_storm_of_sigterms_leaves_nothing_claimed_loses_nothing_and_repeats_nothing() {
    let stage = Stage::new().await;
    stage
        .client
        .batch_execute("create table book (msg text not null, attempt integer not null)")
        .await
        .unwrap();
    let pubsub =
        stage.pubsub().subscribe_fn("shared", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(DEADLINE).await);
    let over = Arc::new(AtomicBool::new(false));
    let publishing = actix::spawn(publish_meanwhile(stage.database.url().to_owned(), over.clone()));

    let start = || Role::start("draining::sigterm::role_drains_on_sigterm", stage.database.url());
    // One works while the other drains.
    let mut next = start();
    for round in 0..rounds() {
        let mut role = std::mem::replace(&mut next, start());
        let pid = role.next().await;
        let id = stage.count(&format!("select id from pubsub.processes where os_pid = {pid}")).await;
        tokio::time::sleep(Duration::from_millis(200).mul_f64(fastrand::f64())).await;
        role.signal("TERM");
        let status = role.ended().await;
        assert!(status.success(), "round {round}: {status}");
        let rest = format!(
            "select (select count(*) from pubsub.leases where process = {id}) \
                  + (select count(*) from pubsub.processes where id = {id}) \
                  + (select count(*) from pubsub.waiters where process = {id})"
        );
        assert_eq!(stage.count(&rest).await, 0, "round {round}: something is left of process {id}");
    }
    over.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap() as i64;
    stage.until_count("select count(distinct msg) from book", published).await;
    stage.until_settled().await;

    assert_eq!(stage.count("select count(*) from book").await, published, "each ran once");
    assert_eq!(stage.count("select count(*) from book where attempt <> 1").await, 0, "no attempt was burned");
    assert_eq!(stage.count("select count(*) from pubsub.dead_letters").await, 0);
    next.signal("TERM");
    // It may not have been at work yet, with nobody to hear the signal.
    next.ended().await;
}
