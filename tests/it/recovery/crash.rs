//! A killed process's events run again elsewhere within seconds, by default.

use pubsub::{Delivery, PubSub, publish, publish_all};
use pubsub_tests::{Role, Sms, Stage, ear, play};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The promise: from the kill to the rerun.
const RERUN_WITHIN: Duration = Duration::from_secs(10);

/// A process that begins every delivery and finishes none.
#[actix::test]
#[ignore = "a role, started by other tests"]
async fn role_begins_and_never_ends() {
    let Some((url, tell)) = play() else { return };
    let _pubsub = PubSub::builder(url)
        .subscribe_fn("shared", move |sms: Delivery<Sms>| {
            tell(&sms.msg);
            std::future::pending()
        })
        .start()
        .await
        .unwrap();
    std::future::pending::<()>().await;
}

/// A role that has begun `count` deliveries, and a runtime beside it that takes over.
async fn victim(stage: &Stage, count: usize) -> Role {
    // Subscribed before anybody publishes.
    let pubsub =
        stage.pubsub().subscribe_fn("shared", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(Duration::from_secs(10)).await);
    let role = Role::start("recovery::crash::role_begins_and_never_ends", stage.database.url());
    stage.until_count("select count(*) from pubsub.processes", 1).await;
    let events: Vec<Sms> = (0..count).map(|n| Sms::new(n.to_string())).collect();
    publish_all(&stage.client, &events).await.unwrap();
    let mut begun = BTreeSet::new();
    while begun.len() < count {
        begun.insert(role.next().await);
    }
    role
}

#[actix::test]
async fn the_events_of_a_killed_process_run_again_elsewhere_within_ten_seconds() {
    let stage = Stage::new().await;
    let mut role = victim(&stage, 10).await;
    let (_survivor, mut heard) = stage.hear_attempts("shared").await;
    role.signal("KILL");
    let killed = Instant::now();
    role.ended().await;

    let again = heard.take(10).await;
    let took = killed.elapsed();
    assert!(again.iter().all(|(_, attempt)| *attempt == 2), "the lost attempt counts: {again:?}");
    assert_eq!(again.iter().map(|(msg, _)| msg).collect::<BTreeSet<_>>().len(), 10);
    assert!(took < RERUN_WITHIN, "took {took:?}");
    stage.until_settled().await;
    stage.until_count("select count(*) from pubsub.processes", 1).await;
}

#[actix::test]
async fn a_frozen_process_is_taken_over_from_and_its_late_answers_are_refused() {
    let stage = Stage::new().await;
    let role = victim(&stage, 5).await;
    let (_survivor, mut heard) = stage.hear_attempts("shared").await;
    role.signal("STOP");
    assert_eq!(heard.take(5).await.len(), 5);
    role.signal("CONT");
    stage.until_settled().await;
    // It notices, and works again under a new name.
    stage.until_count("select count(*) from pubsub.processes", 2).await;
    publish(&stage.client, &Sms::new("one more")).await.unwrap();
}

#[actix::test]
async fn a_process_that_beats_keeps_its_leases_however_long_its_handler_takes() {
    let stage = Stage::new().await;
    let (tell, mut heard) = ear();
    let limit = Duration::from_millis(300);
    let build = |tell: pubsub_tests::Tell<&'static str>, who: &'static str| {
        stage.pubsub().heartbeat(Duration::from_millis(50), limit).subscribe_fn(
            "shared",
            move |_: Delivery<Sms>| {
                tell.tell(who);
                async move {
                    tokio::time::sleep(limit * 10).await;
                    Ok(())
                }
            },
        )
    };
    let first = build(tell.clone(), "first").start().await.unwrap();
    let _second = build(tell, "second").start().await.unwrap();
    pubsub::publish(&first, &Sms::new("long")).await.unwrap();
    heard.next().await;
    stage.until_settled().await;
    assert!(heard.rest().is_empty(), "it ran once");
}
