//! Every subscription gets every event; processes of one subscription share its events.

use pubsub::{Delivery, Handled, publish_all};
use pubsub_tests::{Sender, Sms, TestDatabase, probe, sending};
use std::collections::BTreeSet;

fn sending_with<T: Copy + Send + Unpin + 'static>(
    sender: &Sender<(T, String)>,
    who: T,
) -> impl Fn(Delivery<Sms>) -> std::future::Ready<Handled> + Clone + Send + Unpin + use<T> {
    sending(sender.clone(), move |sms: Delivery<Sms>| (who, sms.into_payload().msg))
}

#[actix::test]
async fn every_subscription_gets_every_event() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let _pubsub = db
        .pubsub()
        .subscribe_fn("a", sending_with(&sender, 'a'))
        .subscribe_fn("b", sending_with(&sender, 'b'))
        .subscribe_fn("c", sending_with(&sender, 'c'))
        .start()
        .await
        .unwrap();
    let events: Vec<Sms> = (0..100).map(|n| Sms::new(n.to_string())).collect();
    publish_all(&db.client, &events).await.unwrap();

    let received = received.take(300).await;
    for who in ['a', 'b', 'c'] {
        let mine: Vec<_> = received.iter().filter(|(w, _)| *w == who).map(|(_, msg)| msg.as_str()).collect();
        let all: Vec<_> = events.iter().map(|sms| sms.msg.as_str()).collect();
        assert_eq!(mine, all, "subscription {who}");
    }
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 100, "an event is stored once");
}

#[actix::test]
async fn two_processes_of_one_subscription_share_its_events() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    // Each process waits at its first event until the other has one too, so neither can take them all.
    let both = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let mut processes = Vec::new();
    for who in [1, 2] {
        let (sender, both, first) =
            (sender.clone(), both.clone(), std::sync::Arc::new(std::sync::Once::new()));
        let handler = move |sms: Delivery<Sms>| {
            let (sender, both) = (sender.clone(), both.clone());
            let mut is_first = false;
            first.call_once(|| is_first = true);
            async move {
                if is_first {
                    both.wait().await;
                }
                sender.send((who, sms.into_payload().msg));
                Ok(())
            }
        };
        let options = pubsub::SubscribeOptions::new().concurrency(1);
        processes.push(db.pubsub().subscribe_fn_with("shared", options, handler).start().await.unwrap());
    }
    let events: Vec<Sms> = (0..200).map(|n| Sms::new(n.to_string())).collect();
    publish_all(&db.client, &events).await.unwrap();

    let received = received.take(200).await;
    let distinct: BTreeSet<_> = received.iter().map(|(_, msg)| msg).collect();
    assert_eq!(distinct.len(), 200, "each event goes to one of them");
    assert_eq!(received.iter().map(|(who, _)| *who).collect::<BTreeSet<i32>>(), BTreeSet::from([1, 2]));
}

#[actix::test]
async fn a_new_subscription_starts_with_events_committed_after_it() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let first = db.pubsub().subscribe_fn("old", sending_with(&sender, "old")).start().await.unwrap();
    pubsub::publish(&first, &Sms::new("before")).await.unwrap();
    assert_eq!(received.next().await, ("old", "before".to_owned()));

    // This event is published while the second subscribes and commits after that, so it counts.
    let mut other = pubsub_tests::connect(db.url()).await;
    let transaction = other.transaction().await.unwrap();
    pubsub::publish(&transaction, &Sms::new("during")).await.unwrap();
    let _second = db.pubsub().subscribe_fn("new", sending_with(&sender, "new")).start().await.unwrap();
    transaction.commit().await.unwrap();
    pubsub::publish(&first, &Sms::new("after")).await.unwrap();

    let mut received = received.take(4).await;
    received.sort_unstable();
    let expected = [("new", "after"), ("new", "during"), ("old", "after"), ("old", "during")];
    assert_eq!(received, expected.map(|(who, msg)| (who, msg.to_owned())));
}

#[actix::test]
async fn a_slow_handler_claims_only_events_that_it_can_start_soon() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let pubsub = {
        let gate = gate.clone();
        db.pubsub()
            .subscribe_fn_with(
                "slow",
                pubsub::SubscribeOptions::new().concurrency(4),
                move |sms: Delivery<Sms>| {
                    sender.send(sms.msg.clone());
                    let gate = gate.clone();
                    async move {
                        gate.acquire().await?.forget();
                        Ok(())
                    }
                },
            )
            .start()
            .await
            .unwrap()
    };
    let events: Vec<Sms> = (0..100).map(|n| Sms::new(n.to_string())).collect();
    publish_all(&db.client, &events).await.unwrap();
    received.take(4).await;
    let leased = "select coalesce(sum(cardinality(event_ids)), 0)::bigint from pubsub.leases";
    assert_eq!(db.count(leased).await, 4, "as many as are running");
    gate.add_permits(100);
    received.take(96).await;
    db.until_settled().await;
    assert_eq!(pubsub.handlers()[0].handled, 100);
}
