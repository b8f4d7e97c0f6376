//! A pooler that is killed, and processes that are killed behind it.

use super::Pooled;
use pubsub::{Delivery, PubSub, publish};
use pubsub_tests::{ChildProcess, DEADLINE, Sms, in_child_process, probe, sending};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

#[actix::test]
async fn nothing_is_lost_while_the_pooler_is_killed() {
    let Some(mut pooled) = Pooled::new("transaction", "default_pool_size = 3").await else { return };
    let (pubsub, mut received) = pooled.receive().await;
    let process = "select min(id) from pubsub.processes";
    let before = pooled.db.count(process).await;
    let (mut committed, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..4 {
        for n in 0..60 {
            let msg = format!("{round}.{n}");
            match publish(&pubsub, &Sms::new(&msg)).await {
                Ok(_) => committed.insert(msg),
                Err(_) => unknown.insert(msg),
            };
            // Claims and answers are on their way.
            if n == 40 {
                pooled.pooler.kill();
            }
        }
        pooled.pooler.start_again().await;
        let (until, msg) = (Instant::now() + DEADLINE, format!("{round}.after"));
        while let Err(error) = publish(&pubsub, &Sms::new(&msg)).await {
            unknown.insert(msg.clone());
            assert!(Instant::now() < until, "still {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        committed.insert(msg);
    }
    let mut handled = BTreeSet::new();
    while !committed.is_subset(&handled) {
        handled.insert(received.next().await);
    }
    pooled.db.until_settled().await;
    handled.extend(received.rest());
    let strange: Vec<_> = handled.difference(&committed).filter(|msg| !unknown.contains(*msg)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    // It beats past the pooler, so it was alive all the time.
    assert_eq!(pooled.db.count(process).await, before);
}

/// Starts every delivery and finishes none.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_behind_a_pooler_never_finishes() {
    let Some((urls, report)) = in_child_process() else { return };
    let (pooler, server) = urls.split_once(' ').unwrap();
    let _pubsub = PubSub::builder(pooler)
        .direct(server)
        .subscribe_fn("one", move |sms: Delivery<Sms>| {
            report(&sms.msg);
            std::future::pending()
        })
        .start()
        .await
        .unwrap();
    std::future::pending::<()>().await;
}

#[actix::test]
async fn a_process_killed_behind_a_pooler_is_replaced_at_once() {
    let Some(pooled) = Pooled::new("transaction", "").await else { return };
    let (sender, mut received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| (sms.msg.clone(), sms.attempt()));
    let urls = format!("{} {}", pooled.url(), pooled.db.url());
    let child = ChildProcess::start("poolers::faults::child_behind_a_pooler_never_finishes", &urls);
    pooled.db.until_count("select count(*) from pubsub.processes", 1).await;
    pooled.db.until_count("select count(*) from pubsub.subscriptions", 1).await;
    for n in 0..20 {
        publish(&pooled.db.client, &Sms::new(n.to_string())).await.unwrap();
    }
    child.next().await;
    // Only the end of its session can reveal its death.
    let survivor = pooled.pubsub().silence_limit(Duration::from_secs(3_600)).subscribe_fn("one", handler);
    let _survivor = survivor.start().await.unwrap();
    child.signal("KILL");
    let handled: BTreeSet<String> = received.take(20).await.into_iter().map(|(msg, _)| msg).collect();
    assert_eq!(handled.len(), 20);
    pooled.db.until_settled().await;
}
