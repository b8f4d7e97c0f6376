//! Killed binaries that know different versions of a payload lose no event and burn no attempt.

use crate::versions::{UNKNOWN_VERSION, new, new_binary, old, publish_new};
use pubsub::{Delivery, PubSub, SubscribeOptions, publish};
use pubsub_tests::{ChildProcess, TestDatabase, in_child_process};

/// An old binary.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_with_an_old_binary() {
    let Some((url, report)) = in_child_process() else { return };
    let _pubsub = PubSub::builder(url)
        .subscribe_fn("one", move |note: Delivery<old::Note>| {
            report(&note.0);
            std::future::ready(Ok(()))
        })
        .start()
        .await
        .unwrap();
    std::future::pending::<()>().await;
}

/// A new binary that starts every delivery and finishes none.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_with_a_new_binary_that_never_finishes() {
    let Some((url, report)) = in_child_process() else { return };
    let _pubsub = PubSub::builder(url)
        .subscribe_fn("one", move |note: Delivery<new::Note>| {
            report(&note.msg);
            std::future::pending()
        })
        .start()
        .await
        .unwrap();
    std::future::pending::<()>().await;
}

#[actix::test]
async fn a_killed_new_binarys_events_wait_for_another_new_one() {
    let db = TestDatabase::new().await;
    let old = ChildProcess::start("versions::killed::child_with_an_old_binary", db.url());
    db.until_count("select count(*) from pubsub.processes", 1).await;
    publish(&db.client, &old::Note("it is running".to_owned())).await.unwrap();
    assert_eq!(old.next().await, "it is running");
    publish_new(&db, "new").await;
    db.until_count(UNKNOWN_VERSION, 1).await;
    let mut killed =
        ChildProcess::start("versions::killed::child_with_a_new_binary_that_never_finishes", db.url());
    assert_eq!(killed.next().await, "new");
    killed.signal("KILL");
    killed.exited().await;
    // The old binary takes over from the dead one, except for versions that it does not know.
    db.until_count(
        "select count(*) from pubsub.mailbox where token is null and crashes = 1 and needs = 2",
        1,
    )
    .await;
    old.signal("KILL");
    let (_new, mut received) = new_binary(&db, SubscribeOptions::new()).await;
    assert_eq!(received.next().await, ("new".to_owned(), 2), "the lost attempt counts");
    db.until_settled().await;
}

#[actix::test]
async fn a_killed_old_binary_costs_no_future_version() {
    let db = TestDatabase::new().await;
    let old = ChildProcess::start("versions::killed::child_with_an_old_binary", db.url());
    db.until_count("select count(*) from pubsub.subscriptions", 1).await;
    for n in 0..50 {
        publish_new(&db, &n.to_string()).await;
    }
    old.signal("KILL");
    let (_new, mut received) = new_binary(&db, SubscribeOptions::new()).await;
    let mut ids: Vec<usize> = received.take(50).await.iter().map(|(msg, _)| msg.parse().unwrap()).collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..50).collect::<Vec<_>>());
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
}
