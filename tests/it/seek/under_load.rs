//! A subscription is moved while others publish and claim.

use pubsub_tests::{ClaimedEvent, SqlSubscriber, TestDatabase, connect, probe, publish_each};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How many events the publishers of the next test commit before each seek.
const BETWEEN_SEEKS: usize = 60;

#[actix::test]
async fn a_seek_under_load_loses_nothing_and_skips_only_as_asked() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (committed_tell, mut committed) = probe();
    let (claimed_tell, mut claimed) = probe();
    let publishers = (0..3).map(|n| {
        let (url, stop, sender) = (db.url().to_owned(), Arc::clone(&stop), committed_tell.clone());
        tokio::spawn(async move {
            let mut client = connect(&url).await;
            while !stop.load(Ordering::Relaxed) {
                // Two of them publish in long transactions, whose ids are old when they commit.
                let events = if n == 0 { 1 } else { fastrand::usize(1..8) };
                let transaction = client.transaction().await.unwrap();
                let ids = publish_each(&transaction, events).await;
                transaction.commit().await.unwrap();
                sender.send(ids);
            }
        })
    });
    let claimers = (0..2).map(|_| {
        let (url, stop, sender) = (db.url().to_owned(), Arc::clone(&stop), claimed_tell.clone());
        tokio::spawn(async move {
            let client = connect(&url).await;
            let one = SqlSubscriber::register(&client, "one").await.unwrap();
            loop {
                let last = stop.load(Ordering::Relaxed);
                let events = one.claim(fastrand::i32(1..20)).await.unwrap();
                if events.is_empty() && last {
                    return;
                }
                sender.send(events);
            }
        })
    });
    let tasks: Vec<_> = publishers.chain(claimers).collect();

    let mut mine = connect(db.url()).await;
    let mut known = BTreeSet::new();
    let mut seeks = Vec::new();
    for round in 0..12 {
        while known.len() < BETWEEN_SEEKS * (round + 1) {
            known.extend(committed.next().await);
        }
        known.extend(committed.rest().into_iter().flatten());
        let position = known.iter().copied().nth(fastrand::usize(..known.len())).unwrap();
        // Its lock is held to the end of its transaction: the tokens above are those of claims that come after it.
        let transaction = mine.transaction().await.unwrap();
        let call = format!("select pubsub.seek_to_event('sms', 'one', {position})");
        transaction.batch_execute(&call).await.unwrap();
        let last_token = "select pg_sequence_last_value('pubsub.leases_token_seq')";
        let token: i64 = transaction.query_one(last_token, &[]).await.unwrap().get(0);
        transaction.commit().await.unwrap();
        seeks.push((token, position, known.clone()));
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    known.extend(committed.rest().into_iter().flatten());
    let claimed: Vec<ClaimedEvent> = claimed.rest().into_iter().flatten().collect();
    let between = |from: i64, to: i64| -> BTreeSet<i64> {
        let within = claimed.iter().filter(|event| event.token > from && event.token <= to);
        within.map(|event| event.id).collect()
    };
    let ends = seeks.iter().skip(1).map(|(token, ..)| *token).chain([i64::MAX]);
    for ((token, position, before), end) in seeks.iter().zip(ends) {
        let skipped = between(*token, end).into_iter().find(|id| id < position && before.contains(id));
        assert_eq!(skipped, None, "below {position}, and committed before the seek");
    }
    let (token, position, before) = seeks.last().unwrap();
    let after = between(*token, i64::MAX);
    let lost: Vec<_> = known.range(position..).filter(|&id| !after.contains(id)).collect();
    assert!(lost.is_empty(), "lost after a seek to {position}: {lost:?}");
    let ever = between(0, i64::MAX);
    let late: Vec<_> = known.difference(before).filter(|&id| !ever.contains(id)).collect();
    assert!(late.is_empty(), "committed after the last seek, and lost: {late:?}");
}
