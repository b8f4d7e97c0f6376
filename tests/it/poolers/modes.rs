//! The modes of a pooler.

use super::Pooled;
use futures_util::future::join_all;
use pubsub::schema::SchemaFormat;
use pubsub::subscription::Seek;
use pubsub::{Delivery, Error, Failure, Handled, PubSub, SubscribeOptions, Subscription, Target, publish};
use pubsub_tests::{DEADLINE, PgBouncer, Sms, TestDatabase, connect, probe, sending};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Fewer sessions than clients, so that they are shared.
const FEW: &str = "default_pool_size = 2";

fn refused<T>(result: Result<T, Error>) -> String {
    let error = result.err().expect("a refusal");
    assert_eq!((error.code(), error.is_retryable()), ("pooler", false), "{error:?}");
    error.to_string()
}

#[actix::test]
async fn everything_works_through_a_pooler_in_transaction_mode() {
    let Some(pooled) = Pooled::new("transaction", FEW).await else { return };
    pubsub::migrate(&pooled.target()).await.unwrap();
    let (sender, mut received) = probe();
    let (letters, mut rejected) = probe();
    let ordered = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
    let reject = move |sms: Delivery<Sms>| {
        letters.send(sms.event_id());
        async { Handled::Err(Failure::reject("no")) }
    };
    let pubsub = pooled
        .pubsub()
        .subscribe_fn_with("ordered", SubscribeOptions::new().ordered(), ordered)
        .subscribe_fn("rejecting", reject)
        .start()
        .await
        .unwrap();

    publish(&pubsub, &Sms::new("alone")).await.unwrap();
    pubsub::publish_all(&pubsub, &[Sms::new("a"), Sms::new("b")]).await.unwrap();
    assert_eq!(received.take_sorted(3).await, ["a", "alone", "b"]);
    let events = rejected.take(3).await;

    let rejecting = Subscription::<Sms>::connect(&pooled.target(), "rejecting").await.unwrap();
    pooled.db.until_count("select count(*) from pubsub.dead_letters", 3).await;
    assert_eq!(rejecting.dead_letters(None, 10).await.unwrap().len(), 3);
    assert!(rejecting.redrive_one(events[0]).await.unwrap());
    assert_eq!(rejected.next().await, events[0]);
    let replayed = pubsub.subscription::<Sms>("ordered").seek(Seek::Beginning).await.unwrap().replayed;
    assert_eq!((replayed, received.take(3).await.len()), (3, 3));
    pooled.db.until_settled().await;
    assert_eq!(rejecting.lag().await.unwrap(), 0);
    assert!(pubsub.drain(DEADLINE).await);
    assert_eq!(pooled.db.count("select count(*) from pubsub.processes").await, 0);
}

#[actix::test]
async fn a_pooled_connection_of_ones_own_publishes() {
    for mode in ["transaction", "session"] {
        let Some(pooled) = Pooled::new(mode, "").await else { return };
        let (_pubsub, mut received) = pooled.receive().await;
        let pool = pooled.target().pool(3);
        let mut client = pool.get().await.unwrap();
        let kept = client.transaction().await.unwrap();
        publish(&kept, &Sms::new("committed")).await.unwrap();
        let mut other = pool.get().await.unwrap();
        let undone = other.transaction().await.unwrap();
        publish(&undone, &Sms::new("rolled back")).await.unwrap();
        undone.rollback().await.unwrap();
        kept.commit().await.unwrap();
        publish(&pool.get().await.unwrap(), &Sms::new("alone")).await.unwrap();
        assert_eq!(received.take_sorted(2).await, ["alone", "committed"], "{mode}");
        pooled.db.until_settled().await;
        assert!(received.rest().is_empty());
    }
}

#[actix::test]
async fn a_pooler_is_refused_without_a_direct_target() {
    let Some(pooled) = Pooled::new("transaction", "").await else { return };
    let cure = "connect to the server itself, or name it as well, with `.direct(\"postgres://..\")`";
    let url = pooled.url();
    for sentence in [
        refused(PubSub::builder(&url).start().await),
        refused(pubsub::migrate(&url).await),
        refused(Subscription::<Sms>::connect(&url, "one").await),
        refused(pubsub::admin::rebase(&url).await),
        refused(pubsub::schema::export(&url, SchemaFormat::TypeScript).await),
    ] {
        let named = sentence.starts_with(&format!("`{}` ", server(&url)));
        assert!(named && sentence.ends_with(cure), "{sentence}");
    }
}

/// Others take the sessions at every moment, and the pooler gives them in turn. So both of two statements run in the same one at
/// times.
#[actix::test]
async fn a_pooler_is_refused_however_lucky_the_check_is() {
    for settings in ["default_pool_size = 3", "default_pool_size = 2\nserver_round_robin = 1"] {
        let Some(pooled) = Pooled::new("transaction", settings).await else { return };
        let over = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (0..3)
            .map(|_| {
                let (url, over) = (pooled.url(), Arc::clone(&over));
                tokio::spawn(async move {
                    let client = connect(&url).await;
                    while !over.load(Ordering::Relaxed) {
                        client.batch_execute("select pg_sleep(random() / 500)").await.unwrap();
                    }
                })
            })
            .collect();
        let url = pooled.url();
        for _ in 0..4 {
            let starts = join_all((0..4).map(|_| PubSub::builder(&url).start())).await;
            for start in starts {
                let error = start.expect_err("a refusal");
                // It may also wait in vain for a session that the others have.
                assert!(["pooler", "timeout", "connect"].contains(&error.code()), "{error:?}");
            }
        }
        over.store(true, Ordering::Relaxed);
        for other in others {
            other.await.unwrap();
        }
    }
}

#[actix::test]
async fn a_pooler_in_session_mode_needs_no_direct_target() {
    let Some(pooled) = Pooled::new("session", "").await else { return };
    pubsub::migrate(pooled.url()).await.unwrap();
    let (sender, mut received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
    let pubsub = PubSub::builder(pooled.url()).subscribe_fn("one", handler).start().await.unwrap();
    publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.next().await, "hello");
}

/// The host and the port in a URL.
fn server(url: &str) -> &str {
    url.split(['@', '/']).nth(3).expect("a URL with a user")
}

#[actix::test]
async fn a_pooler_in_statement_mode_is_refused() {
    let Some(pooled) = Pooled::new("statement", "").await else { return };
    let sentence = format!(
        "`{}` is a pooler in statement mode, which allows no transactions: set `pool_mode = transaction` for this database, and \
         name the server itself with `.direct(\"postgres://..\")`",
        server(&pooled.url())
    );
    assert_eq!(refused(PubSub::builder(pooled.url()).start().await), sentence);
    assert_eq!(refused(pooled.pubsub().start().await), sentence);
    assert_eq!(refused(pubsub::migrate(pooled.url()).await), sentence);

    // A single event needs no more than a statement.
    let (_pubsub, mut received) = pooled.db.receive("one").await;
    publish(&connect(&pooled.url()).await, &Sms::new("one statement")).await.unwrap();
    assert_eq!(received.next().await, "one statement");
}

#[actix::test]
async fn a_direct_target_that_is_none_is_refused() {
    let Some(pooled) = Pooled::new("transaction", "").await else { return };
    let itself = refused(PubSub::builder(pooled.url()).direct(pooled.url()).start().await);
    assert_eq!(
        itself,
        format!(
            "`{}`, the target of `.direct`, is a pooler in transaction mode: name the server itself there, past every pooler",
            server(&pooled.url())
        )
    );
    let elsewhere = TestDatabase::new().await;
    let other = refused(PubSub::builder(pooled.url()).direct(elsewhere.url()).start().await);
    assert_eq!(
        other,
        format!(
            "`{}`, the target of `.direct`, hears no notification from `{}`, so it is another database or a pooler in transaction \
             mode: name the server itself there, past every pooler",
            server(elsewhere.url()),
            server(&pooled.url())
        )
    );
    let unreadable =
        PubSub::builder(pooled.url()).direct("postgres://db.example/shop?sslmod=x").start().await;
    assert_eq!(unreadable.unwrap_err().code(), "invalid_url");
}

/// A server that is not behind a pooler may have a direct target too.
#[actix::test]
async fn a_direct_target_may_be_the_target_itself() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
    let pubsub = db.pubsub().direct(db.url()).subscribe_fn("one", handler).start().await.unwrap();
    let sent: Vec<Sms> = (0..500).map(|n| Sms::new(n.to_string())).collect();
    pubsub::publish_all(&pubsub, &sent).await.unwrap();
    let received: BTreeSet<String> = received.take(500).await.into_iter().collect();
    assert_eq!(received.len(), 500);
    assert!(pubsub.drain(Duration::from_secs(30)).await);
}

/// Statements of one's own are left to the pooler.
#[actix::test]
async fn a_target_that_only_connects_is_not_examined() {
    let Some(pooled) = Pooled::new("transaction", "").await else { return };
    let client = Target::parse(&pooled.url()).unwrap().connect().await.unwrap();
    assert_eq!(client.query_typed_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
    let _: PgBouncer = pooled.pooler;
}
