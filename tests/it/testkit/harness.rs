//! An application that runs in a test.

use super::complaint;
use actix::{Actor, Context, Handler};
use pubsub::testing::{Counted, Error, Harness};
use pubsub::{Backoff, Delivery, Failure, Handled, SubscribeOptions, publish};
use pubsub_tests::{Email, Sms, TestDatabase, connect, probe, sending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Semaphore;

const HOUR: Duration = Duration::from_secs(3_600);

/// Options whose first retry is due after an hour, or nearly.
fn hourly() -> SubscribeOptions {
    SubscribeOptions::new().backoff(Backoff::exponential(HOUR).max(2 * HOUR).jitter(0.1))
}

/// Options whose retries are due after a second, as by default.
fn soon() -> SubscribeOptions {
    let second = Duration::from_secs(1);
    SubscribeOptions::new().backoff(Backoff::exponential(second).max(second).jitter(0.0))
}

/// Answers as the text says.
async fn as_told(sms: Delivery<Sms>) -> Handled {
    match &*sms.msg {
        "third time" if sms.attempt() < 3 => Err("not yet".into()),
        "never" => Err(Failure::reject("no such number")),
        "fails" => Err("always".into()),
        "panics" => panic!("boom"),
        _ => Ok(()),
    }
}

async fn told(db: &TestDatabase) -> Harness {
    Harness::start(&db.database, |builder| builder.subscribe_fn_with("told", hourly(), as_told))
        .await
        .unwrap()
}

#[actix::test]
async fn time_that_passes_makes_a_retry_due_at_once() {
    let db = TestDatabase::new().await;
    let shop = told(&db).await;
    shop.publish(&Sms::new("third time")).await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(0).failed(1).given_up(0);
    // Less than the delay, even with jitter.
    shop.pass(HOUR / 2).await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(0).failed(1);

    shop.pass(HOUR).await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(0).failed(2);
    shop.pass(3 * HOUR).await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(1).failed(2).given_up(0);
    assert_eq!(shop.published::<Sms>().await.unwrap(), [Sms::new("third time")]);
}

#[actix::test]
async fn all_of_time_can_pass_at_once() {
    let db = TestDatabase::new().await;
    let shop = told(&db).await;
    shop.publish(&Sms::new("third time")).await.unwrap();
    for failed in [1, 2] {
        shop.settled().await.unwrap();
        shop.of::<Sms>("told").handled(0).failed(failed);
        shop.pass(Duration::MAX).await.unwrap();
    }
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(1).failed(2);
}

/// It is asked again and again, and to compile it takes most of a second.
#[actix::test]
async fn the_question_what_is_open_is_not_compiled() {
    let db = TestDatabase::new().await;
    let _shop = told(&db).await;
    let without =
        "select 'jit=off' = any (proconfig) from pg_proc where oid = 'pubsub_testing.open'::regproc";
    assert!(db.client.query_one(without, &[]).await.unwrap().get::<_, bool>(0));
}

#[actix::test]
async fn harnesses_may_start_at_once_on_one_database() {
    let db = TestDatabase::new().await;
    let start = |name: &'static str| {
        Harness::start(&db.database, move |builder| builder.subscribe_fn_with(name, hourly(), as_told))
    };
    let started = futures_util::future::join_all(["a", "b", "c", "d", "e", "f"].map(start)).await;
    let refused: Vec<_> = started.iter().filter_map(|shop| shop.as_ref().err()).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

#[actix::test]
async fn no_retry_comes_before_time_passes() {
    let db = TestDatabase::new().await;
    let shop = Harness::start(&db.database, |builder| builder.subscribe_fn_with("told", soon(), as_told))
        .await
        .unwrap();
    shop.publish(&Sms::new("fails")).await.unwrap();
    shop.settled().await.unwrap();
    // Past the delay, and past a poll of the mailbox.
    db.client.batch_execute("select pg_sleep(2.5)").await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").failed(1);
    // The time of the test counts now.
    shop.pass(Duration::ZERO).await.unwrap();
    for attempt in 2..=4 {
        shop.settled().await.unwrap();
        shop.of::<Sms>("told").failed(attempt);
        shop.pass(Duration::from_secs(1)).await.unwrap();
    }
    shop.of::<Sms>("told").handled(0).failed(4).given_up(1);
    assert_eq!(db.count("select count(*) from pubsub.mailbox").await, 0);
}

#[actix::test]
async fn what_waits_from_before_a_harness_is_held_too() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let before = sender.clone();
    let pubsub = db
        .pubsub()
        .subscribe_fn_with("told", hourly(), move |sms: Delivery<Sms>| {
            before.send(sms.attempt());
            async { Err("not yet".into()) }
        })
        .start()
        .await
        .unwrap();
    publish(&pubsub, &Sms::new("hello")).await.unwrap();
    received.next().await;
    db.until_count("select count(*) from pubsub.mailbox where token is null", 1).await;
    assert!(pubsub.drain(Duration::from_secs(60)).await);
    // A second harness holds nothing twice.
    let publisher = Harness::start(&db.database, pubsub::Builder::declare::<Sms>).await.unwrap();
    let shop = Harness::start(&db.database, |builder| {
        builder.subscribe_fn("told", sending(sender, |sms: Delivery<Sms>| sms.attempt()))
    })
    .await
    .unwrap();
    publisher.settled().await.unwrap();
    shop.settled().await.unwrap();
    shop.pass(HOUR / 2).await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(0);
    publisher.pass(HOUR).await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(1);
    assert_eq!(received.next().await, 2);
}

#[actix::test]
async fn a_harness_needs_a_database_that_is_migrated() {
    let database = pubsub::testing::Database::empty().await.unwrap();
    let error = Harness::start(&database, |builder| builder).await.unwrap_err();
    assert!(matches!(error, pubsub::Error::SchemaMissing), "{error}");
}

#[actix::test]
async fn every_end_of_a_delivery_is_counted() {
    let db = TestDatabase::new().await;
    let shop = told(&db).await;
    for msg in ["fine", "never", "fails", "panics"] {
        shop.publish(&Sms::new(msg)).await.unwrap();
    }
    // `Sms` has four attempts, and the third panic is the last.
    for _ in 0..4 {
        shop.settled().await.unwrap();
        shop.pass(3 * HOUR).await.unwrap();
    }
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(1).failed(4 + 3).given_up(3);
}

#[actix::test]
async fn a_count_that_differs_is_told_with_the_others() {
    let db = TestDatabase::new().await;
    let shop = told(&db).await;
    for msg in ["fine", "third time", "never"] {
        shop.publish(&Sms::new(msg)).await.unwrap();
    }
    shop.settled().await.unwrap();
    let counted = shop.of::<Sms>("told").handled(1).failed(1).given_up(1);
    let found = "(handled 1, failed 1, given up 1)";
    let said = |wrong: fn(Counted) -> Counted| complaint(|| wrong(counted.clone()));
    let told = "subscription `told` of channel `sms`: expected";
    assert_eq!(said(|counted| counted.handled(2)), format!("{told} 2 handled, found 1 {found}"));
    assert_eq!(said(|counted| counted.failed(0)), format!("{told} 0 failed, found 1 {found}"));
    assert_eq!(said(|counted| counted.given_up(7)), format!("{told} 7 given up, found 1 {found}"));
    assert_eq!(
        complaint(|| shop.of::<Email>("told")),
        "no handler of subscription `told` of channel `email` runs here; there are: `told` of `sms`"
    );
}

/// Publishes an e-mail for each text message.
#[actix::test]
async fn what_handlers_publish_is_waited_for() {
    let db = TestDatabase::new().await;
    let url = Arc::<str>::from(db.url());
    let (sender, mut received) = probe();
    let shop = Harness::start(&db.database, |builder| {
        builder
            .subscribe_fn("mailer", sending(sender, |email: Delivery<Email>| email.receiver.clone()))
            .subscribe_fn("forwarder", move |sms: Delivery<Sms>| {
                let url = Arc::clone(&url);
                async move {
                    publish(&connect(&url).await, &Email { receiver: sms.msg.clone() }).await?;
                    Ok(())
                }
            })
    })
    .await
    .unwrap();
    for round in 1..=20 {
        shop.publish(&Sms::new(format!("{round}"))).await.unwrap();
        shop.settled().await.unwrap();
        shop.of::<Sms>("forwarder").handled(round);
        shop.of::<Email>("mailer").handled(round);
    }
    assert_eq!(received.rest().len(), 20);
}

#[actix::test]
async fn an_event_that_commits_behind_later_ones_is_waited_for() {
    let db = TestDatabase::new().await;
    let shop = told(&db).await;
    let mut client = connect(db.url()).await;
    let slow = client.transaction().await.unwrap();
    publish(&slow, &Sms::new("first")).await.unwrap();
    shop.publish(&Sms::new("second")).await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(1);
    slow.commit().await.unwrap();
    shop.settled().await.unwrap();
    shop.of::<Sms>("told").handled(2);
}

#[actix::test]
async fn what_is_not_settled_is_told() {
    let db = TestDatabase::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let shop = Harness::start(&db.database, |builder| {
        builder.subscribe_fn("gated", move |_: Delivery<Sms>| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok(())
            }
        })
    })
    .await
    .unwrap();
    shop.publish(&Sms::new("hello")).await.unwrap();
    db.until_count("select count(*) from pubsub.leases", 1).await;
    let limit = Duration::from_millis(20);
    let error = shop.settled_within(limit).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "not settled after 20ms: subscription `gated` of channel `sms` has 1 leased"
    );
    assert!(matches!(error, Error::Unsettled { after, .. } if after == limit));
    opened.add_permits(1);
    shop.settled().await.unwrap();
    shop.of::<Sms>("gated").handled(1);

    db.client.batch_execute("update pubsub.subscriptions set suspended_at = now()").await.unwrap();
    shop.publish(&Sms::new("unread")).await.unwrap();
    let error = shop.settled_within(limit).await.unwrap_err();
    let told = "subscription `gated` of channel `sms` has 1 unread, and is suspended";
    assert_eq!(error.to_string(), format!("not settled after 20ms: {told}"));
    let dispatched = "insert into pubsub.mailbox
                             (subscription, lane, event_id, channel, payload, version, published_at, attempt, panics, crashes,
                              due_at, needs)
                      select id, 0, 99, 'sms', '{}', 9, now(), 1, 0, 0, now(), 9 from pubsub.subscriptions";
    db.client.batch_execute(dispatched).await.unwrap();
    let error = shop.settled_within(limit).await.unwrap_err().to_string();
    assert!(
        error.ends_with("has 1 unread, 1 too new for every process that has seen it, and is suspended"),
        "{error}"
    );
}

#[derive(Default)]
struct Here;

#[derive(Default)]
struct Elsewhere;

macro_rules! handlers {
    ($($handler:ident),*) => {$(
        impl Actor for $handler {
            type Context = Context<Self>;
        }

        impl Handler<Delivery<Sms>> for $handler {
            type Result = Handled;

            fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Handled {
                Ok(())
            }
        }
    )*};
}

handlers!(Here, Elsewhere);

pubsub::routes! {
    App { Sms => [Here, Elsewhere] }
}

#[actix::test]
async fn a_harness_waits_for_its_own_handlers_only() {
    let db = TestDatabase::new().await;
    let here = Harness::start(&db.database, |builder| builder.routes(App::only().handler(Here::default)))
        .await
        .unwrap();
    App::publisher().publish(here.pubsub(), &Sms::new("hello")).await.unwrap();
    here.settled().await.unwrap();
    here.of::<Sms>("here").handled(1);
    assert_eq!(
        complaint(|| here.of::<Sms>("elsewhere")),
        "no handler of subscription `elsewhere` of channel `sms` runs here; there are: `here` of `sms`"
    );
    let all = Harness::start(&db.database, |builder| builder.routes(App::all())).await.unwrap();
    all.settled().await.unwrap();
    all.of::<Sms>("elsewhere").handled(1);
    all.of::<Sms>("here").handled(0);
}

#[actix::test]
async fn time_passes_for_ordered_and_snoozed_deliveries_too() {
    let db = TestDatabase::new().await;
    let awake = Arc::new(AtomicBool::new(false));
    let (sender, mut received) = probe();
    let is_awake = Arc::clone(&awake);
    let shop = Harness::start(&db.database, |builder| {
        builder.subscribe_fn_with("sleepy", hourly().ordered(), move |sms: Delivery<Sms>| {
            let (sender, is_awake) = (sender.clone(), is_awake.load(Ordering::SeqCst));
            async move {
                if !is_awake {
                    return Err(Failure::snooze(HOUR));
                }
                sender.send(sms.msg.clone());
                Ok(())
            }
        })
    })
    .await
    .unwrap();
    let ada = pubsub::PublishOptions::new().key("ada");
    for msg in ["one", "two", "three"] {
        pubsub::publish_with(shop.pubsub(), &Sms::new(msg), &ada).await.unwrap();
    }
    shop.settled().await.unwrap();
    shop.of::<Sms>("sleepy").handled(0).failed(0).given_up(0);
    awake.store(true, Ordering::SeqCst);
    shop.settled().await.unwrap();
    assert!(received.rest().is_empty(), "those behind the snoozed one are parked");
    shop.pass(HOUR).await.unwrap();
    shop.settled().await.unwrap();
    assert_eq!(received.rest(), ["one", "two", "three"]);
    shop.of::<Sms>("sleepy").handled(3);
}
