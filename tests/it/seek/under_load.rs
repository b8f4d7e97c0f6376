//! A subscription is moved while other processes publish and claim.

use pubsub_tests::{ClaimedEvent, Sender, SqlSubscriber, TestDatabase, connect, probe, publish_each};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

const SEEKS: usize = 12;

/// The number of events that are committed before each seek.
const BETWEEN_SEEKS: usize = 60;

/// A seek: the last token before it, its target, and the events that are known to be committed before it.
struct Seek {
    last_token: i64,
    position: i64,
    before: BTreeSet<i64>,
}

fn publish_until(
    stop: &Arc<AtomicBool>,
    url: &str,
    most: usize,
    committed: Sender<Vec<i64>>,
) -> JoinHandle<()> {
    let (url, stop) = (url.to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let mut client = connect(&url).await;
        while !stop.load(Ordering::Relaxed) {
            let events = fastrand::usize(1..=most);
            let transaction = client.transaction().await.unwrap();
            let ids = publish_each(&transaction, events).await;
            transaction.commit().await.unwrap();
            committed.send(ids);
        }
    })
}

fn claim_until(stop: &Arc<AtomicBool>, url: &str, claimed: Sender<Vec<ClaimedEvent>>) -> JoinHandle<()> {
    let (url, stop) = (url.to_owned(), Arc::clone(stop));
    tokio::spawn(async move {
        let client = connect(&url).await;
        let one = SqlSubscriber::register(&client, "one").await.unwrap();
        loop {
            let last = stop.load(Ordering::Relaxed);
            let events = one.claim(fastrand::i32(1..20)).await.unwrap();
            if events.is_empty() && last {
                return;
            }
            claimed.send(events);
        }
    })
}

/// Tells tasks to stop, and waits until they have.
async fn stop<const N: usize>(flag: &AtomicBool, tasks: [JoinHandle<()>; N]) {
    flag.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}

/// Moves the subscription to one of the known events.
async fn seek(client: &mut Client, known: &BTreeSet<i64>) -> Seek {
    let position = known.iter().copied().nth(fastrand::usize(..known.len())).unwrap();
    // The seek holds its lock to the end of its transaction, so later claims have higher tokens.
    let transaction = client.transaction().await.unwrap();
    let call = format!("select pubsub.seek('sms', 'one', event => {position})");
    transaction.batch_execute(&call).await.unwrap();
    // Null before the first claim.
    let sql = "select coalesce(pg_sequence_last_value('pubsub.leases_token_seq'), 0)";
    let last_token = transaction.query_one(sql, &[]).await.unwrap().get(0);
    transaction.commit().await.unwrap();
    Seek { last_token, position, before: known.clone() }
}

#[actix::test]
async fn a_seek_under_load_loses_nothing_and_skips_only_as_asked() {
    let db = TestDatabase::new().await;
    SqlSubscriber::register(&db.client, "one").await.unwrap();
    let (stop_publishing, stop_claiming) = (Arc::default(), Arc::default());
    let (committed_sender, mut committed) = probe();
    let (claimed_sender, mut claimed) = probe();
    // Two of the publishers have long transactions, whose ids are old when they commit.
    let publishers =
        [1, 7, 7].map(|most| publish_until(&stop_publishing, db.url(), most, committed_sender.clone()));
    let claimers = [(), ()].map(|()| claim_until(&stop_claiming, db.url(), claimed_sender.clone()));

    let mut client = connect(db.url()).await;
    let mut known = BTreeSet::new();
    let mut seeks = Vec::new();
    for round in 1..=SEEKS {
        while known.len() < BETWEEN_SEEKS * round {
            known.extend(committed.next().await);
        }
        known.extend(committed.rest().into_iter().flatten());
        seeks.push(seek(&mut client, &known).await);
    }
    // Claims go on until everything is committed.
    stop(&stop_publishing, publishers).await;
    stop(&stop_claiming, claimers).await;
    known.extend(committed.rest().into_iter().flatten());
    let claimed: Vec<ClaimedEvent> = claimed.rest().into_iter().flatten().collect();
    let between = |from: i64, to: i64| -> BTreeSet<i64> {
        let within = claimed.iter().filter(|event| event.token > from && event.token <= to);
        within.map(|event| event.id).collect()
    };
    let ends = seeks.iter().skip(1).map(|seek| seek.last_token).chain([i64::MAX]);
    for (Seek { last_token, position, before }, end) in seeks.iter().zip(ends) {
        let mut claimed = between(*last_token, end).into_iter();
        let skipped = claimed.find(|id| id < position && before.contains(id));
        assert_eq!(skipped, None, "claimed below {position}, though committed before the seek");
    }
    let Seek { last_token, position, before } = seeks.last().unwrap();
    let after = between(*last_token, i64::MAX);
    let lost: Vec<_> = known.range(position..).filter(|&id| !after.contains(id)).collect();
    assert!(lost.is_empty(), "lost after a seek to {position}: {lost:?}");
    let ever = between(0, i64::MAX);
    let late: Vec<_> = known.difference(before).filter(|&id| !ever.contains(id)).collect();
    assert!(late.is_empty(), "committed after the last seek, and lost: {late:?}");
}
