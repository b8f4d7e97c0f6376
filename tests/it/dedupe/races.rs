//! Concurrent publishers of one deduplication key: one publishes, and the others get its event.

use crate::dedupe::{Letter, letter};
use pubsub::{Error, EventId, Published, publish, publish_all};
use pubsub_tests::{TestDatabase, connect, until};
use std::time::Duration;
use tokio_postgres::Client;

/// Publishes a letter in an open transaction and the same letter concurrently, then commits or rolls back the first.
/// Returns the results of both.
async fn race(commits: bool) -> (TestDatabase, EventId, Published) {
    let mut db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Letter>().start().await.unwrap();
    let (second, watcher) = (connect(db.url()).await, connect(db.url()).await);
    let transaction = db.client.transaction().await.unwrap();
    let id = publish(&transaction, &letter(1, "welcome")).await.unwrap().id();
    let publishing = tokio::spawn(async move { publish(&second, &letter(1, "welcome")).await });
    until(
        &watcher,
        "select exists (select from pg_stat_activity
                         where datname = current_database() and wait_event_type = 'Lock'
                           and query like '%publish_once%')",
    )
    .await;
    assert!(!publishing.is_finished());
    match commits {
        true => transaction.commit().await.unwrap(),
        false => transaction.rollback().await.unwrap(),
    }
    let other = tokio::time::timeout(Duration::from_secs(60), publishing).await.unwrap().unwrap().unwrap();
    (db, id, other)
}

#[actix::test]
async fn a_concurrent_duplicate_waits_and_returns_the_first_event() {
    let (db, first, second) = race(true).await;
    assert_eq!(second, Published::Duplicate(first));
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 1);
}

#[actix::test]
async fn a_concurrent_duplicate_publishes_if_the_first_rolls_back() {
    let (db, first, second) = race(false).await;
    assert!(!second.is_duplicate() && second.id() != first);
    assert_eq!(db.count("select id from pubsub.db_events").await, second.id().0);
}

#[actix::test]
async fn duplicates_of_committed_events_do_not_wait() {
    let mut db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Letter>().start().await.unwrap();
    let mut other = connect(db.url()).await;
    let (a, b) = (letter(1, "a"), letter(1, "b"));
    publish_all(&other, [&a, &b]).await.unwrap();
    // In opposite orders, both uncommitted: with locks on the keys this would be a deadlock.
    let (first, second) = (db.client.transaction().await.unwrap(), other.transaction().await.unwrap());
    publish(&first, &a).await.unwrap();
    publish(&second, &b).await.unwrap();
    publish(&first, &b).await.unwrap();
    publish(&second, &a).await.unwrap();
    first.commit().await.unwrap();
    second.commit().await.unwrap();
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 2);
}

#[actix::test]
async fn many_publishers_of_the_same_dedupe_keys_publish_each_once() {
    const PUBLISHERS: usize = 6;
    const KEYS: i64 = 300;
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Letter>().start().await.unwrap();
    let publishers = (0..PUBLISHERS).map(|_| {
        let url = db.url().to_owned();
        tokio::spawn(async move {
            let client = connect(&url).await;
            let mut published = 0;
            for round in 0..5 {
                let mut letters: Vec<_> = (0..KEYS).map(|n| letter(n, &round.to_string())).collect();
                fastrand::shuffle(&mut letters);
                published += publish_all(&client, &letters).await.unwrap();
            }
            published
        })
    });
    let published = futures_util::future::join_all(publishers).await;
    let published: u64 = published.into_iter().map(Result::unwrap).sum();
    assert_eq!(published, 5 * KEYS.unsigned_abs());
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 5 * KEYS);
    let doubled = "select count(*) from (
                       select from pubsub.db_events group by payload having count(*) > 1
                   ) d";
    assert_eq!(db.count(doubled).await, 0);
}

/// Publishes in a transaction whose snapshot is older than the first publisher's commit.
async fn publish_late(db: &mut TestDatabase, other: &Client) -> Error {
    let transaction = db.client.transaction().await.unwrap();
    transaction.batch_execute("set transaction isolation level repeatable read; select 1").await.unwrap();
    publish(other, &letter(1, "welcome")).await.unwrap();
    publish(&transaction, &letter(1, "welcome")).await.unwrap_err()
}

#[actix::test]
async fn an_invisible_duplicate_is_a_serialization_failure() {
    let mut db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Letter>().start().await.unwrap();
    let other = connect(db.url()).await;
    assert_eq!(publish_late(&mut db, &other).await.code(), "40001");
}
