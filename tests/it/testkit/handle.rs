//! Deliveries that a test makes, and handlers that it calls without a database.

use super::complaint_of;
use actix::fut::{ActorFutureExt, WrapFuture};
use actix::{Actor, AsyncContext, AtomicResponse, Context, Handler, ResponseActFuture, ResponseFuture};
use pubsub::testing::handle;
use pubsub::{Channel, Delivery, Error, EventId, Failure, Handled, LeaseToken};
use pubsub_tests::{Sms, TestDatabase};
use serde::{Deserialize, Serialize};
use std::time::Duration;

fn sms(msg: &str) -> Delivery<Sms> {
    Delivery::of(Sms::new(msg))
}

#[test]
fn a_made_delivery_is_a_first_attempt() {
    let before = jiff::Timestamp::now();
    let delivery = sms("hello");
    assert_eq!(delivery.msg, "hello");
    assert_eq!((delivery.event_id(), delivery.attempt(), delivery.token()), (EventId(1), 1, LeaseToken(1)));
    assert_eq!((delivery.key(), delivery.subscription()), (None, "test"));
    assert!(delivery.headers().is_empty() && !delivery.is_replay() && delivery.is_current());
    assert!(delivery.published_at() >= before);
}

#[test]
fn a_made_delivery_has_what_the_test_sets() {
    let noon: jiff::Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
    let delivery = sms("hello")
        .with_attempt(3)
        .with_event_id(EventId(17))
        .with_token(LeaseToken(9))
        .with_key("ada")
        .with_header("tenant", "shop")
        .with_header("origin", "a \"test\"")
        .with_published_at(noon)
        .with_subscription("twilio")
        .as_replay()
        .not_current();
    assert_eq!((delivery.event_id(), delivery.attempt(), delivery.token()), (EventId(17), 3, LeaseToken(9)));
    assert_eq!((delivery.key(), delivery.subscription()), (Some("ada"), "twilio"));
    assert_eq!(delivery.headers()["tenant"], "shop");
    assert_eq!(delivery.headers()["origin"], "a \"test\"");
    assert_eq!(delivery.published_at(), noon);
    assert!(delivery.is_replay() && !delivery.is_current());
}

#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("testkit.parcel", key = receiver)]
struct Parcel {
    receiver: i64,
    weight: f64,
    #[serde(skip)]
    only_here: u8,
}

#[test]
fn a_made_delivery_is_what_publishing_makes_of_it() {
    let parcel = Delivery::of(Parcel { receiver: 7, weight: 0.1, only_here: 1 });
    assert_eq!((parcel.key(), parcel.weight, parcel.only_here), (Some("7"), 0.1, 0));
}

#[test]
#[should_panic(expected = "the payload of channel `testkit.parcel` could not be published")]
fn what_cannot_be_published_cannot_be_delivered() {
    drop(Delivery::of(Parcel { receiver: 7, weight: f64::NAN, only_here: 0 }));
}

/// Answers at once.
#[derive(Default)]
struct Counter {
    handled: u32,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Counter {
    type Result = Handled;

    fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Handled {
        match &*sms.msg {
            "busy" => return Err(Failure::retry_after(Duration::from_secs(60), "the line is busy")),
            "later" => return Err(Failure::snooze(Duration::from_secs(5))),
            "never" => return Err(Failure::reject("no such number")),
            "boom" => panic!("boom"),
            "parse" => drop("x".parse::<u8>()?),
            _ => self.handled += 1,
        }
        Ok(())
    }
}

#[actix::test]
async fn a_handler_answers_without_a_database() {
    let mut counter = Counter::default();
    assert!(handle(&mut counter, sms("one")).await.is_ok());
    assert!(handle(&mut counter, sms("two")).await.is_ok());
    assert_eq!(counter.handled, 2);
    for (msg, answer) in [
        ("busy", "retry after 60s: the line is busy"),
        ("later", "snooze for 5s"),
        ("never", "reject: no such number"),
        ("parse", "retry after the backoff: invalid digit found in string"),
    ] {
        assert_eq!(handle(&mut counter, sms(msg)).await.unwrap_err().to_string(), answer);
    }
    assert_eq!(counter.handled, 2);
}

/// Answers with a future.
struct Later;

impl Actor for Later {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Later {
    type Result = ResponseFuture<Handled>;

    fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Self::Result {
        Box::pin(async move {
            tokio::task::yield_now().await;
            assert!(sms.msg != "boom", "boom");
            if sms.attempt() < 3 { Err("not yet".into()) } else { Ok(()) }
        })
    }
}

#[actix::test]
async fn the_future_of_a_handler_is_awaited() {
    let answer = handle(&mut Later, sms("hello").with_attempt(2)).await;
    assert_eq!(answer.unwrap_err().to_string(), "retry after the backoff: not yet");
    assert!(handle(&mut Later, sms("hello").with_attempt(3)).await.is_ok());
    assert!(handle(&Later.start(), sms("hello").with_attempt(3)).await.is_ok());
}

#[actix::test]
async fn a_panic_of_a_handler_is_a_panic_of_its_test() {
    let said = complaint_of(async { drop(handle(&mut Counter::default(), sms("boom")).await) }).await;
    assert_eq!(said, "boom");
    let of_future = complaint_of(async { drop(handle(&mut Later, sms("boom")).await) }).await;
    let of_started = complaint_of(async { drop(handle(&Later.start(), sms("boom")).await) }).await;
    for said in [of_future, of_started] {
        assert!(said.starts_with("the handler of channel `sms` panicked: boom (at "), "{said}");
        assert!(said.ends_with(')') && said.contains("handle.rs:"), "{said}");
    }
}

/// Panics in a future without the delivery.
struct Careless;

impl Actor for Careless {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Careless {
    type Result = ResponseFuture<Handled>;

    fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Self::Result {
        Box::pin(async { panic!("careless") })
    }
}

#[actix::test]
async fn a_panic_after_the_delivery_is_dropped_is_told_too() {
    let of_future = complaint_of(async { drop(handle(&mut Careless, sms("hello")).await) }).await;
    let of_started = complaint_of(async { drop(handle(&Careless.start(), sms("hello")).await) }).await;
    for said in [of_future, of_started] {
        let dropped = "the handler of channel `sms` has dropped the delivery without an answer, and its thread has panicked: careless";
        assert!(said.starts_with(dropped), "{said}");
    }
}

/// Answers with a future of its own, which other messages may interrupt unless the text is `atomic`.
#[derive(Default)]
struct Own {
    handled: u32,
}

impl Actor for Own {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Own {
    type Result = ResponseActFuture<Self, Handled>;

    fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Self::Result {
        let counted = tokio::task::yield_now().into_actor(self).map(|(), own, _| {
            own.handled += 1;
            if own.handled < 2 { Err(format!("handled {}", own.handled).into()) } else { Ok(()) }
        });
        Box::pin(counted)
    }
}

/// Answers atomically.
struct Atomic;

impl Actor for Atomic {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Atomic {
    type Result = AtomicResponse<Self, Handled>;

    fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Self::Result {
        AtomicResponse::new(Box::pin(tokio::task::yield_now().into_actor(self).map(|(), _, _| Ok(()))))
    }
}

#[actix::test]
async fn a_future_of_the_actor_runs_in_one_that_was_started() {
    let own = Own::default().start();
    assert_eq!(handle(&own, sms("a")).await.unwrap_err().to_string(), "retry after the backoff: handled 1");
    assert!(handle(&own, sms("b")).await.is_ok());
    assert!(handle(&Atomic.start(), sms("c")).await.is_ok());
    let of_own = complaint_of(async { drop(handle(&mut Own::default(), sms("d")).await) }).await;
    let of_atomic = complaint_of(async { drop(handle(&mut Atomic, sms("e")).await) }).await;
    for said in [of_own, of_atomic] {
        assert!(said.ends_with("pass `&actor.start()` instead of `&mut actor`"), "{said}");
    }
}

/// Spawns work of its own, stops itself, and answers with a future.
struct Leaving;

impl Actor for Leaving {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Leaving {
    type Result = ResponseFuture<Handled>;

    fn handle(&mut self, _: Delivery<Sms>, context: &mut Self::Context) -> Self::Result {
        context.spawn(actix::fut::ready(()));
        actix::ActorContext::stop(context);
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(())
        })
    }
}

#[actix::test]
async fn what_a_handler_does_to_its_context_is_no_answer() {
    assert!(handle(&mut Leaving, sms("hello")).await.is_ok());
}

#[actix::test]
async fn a_made_delivery_settles_nothing() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    pubsub::publish(&db.client, &Sms::new("hello")).await.unwrap();
    received.next().await;
    let error = sms("hello").settle_in(&db.client).await.unwrap_err();
    assert!(matches!(error, Error::LeaseLost { .. }), "{error}");
}
