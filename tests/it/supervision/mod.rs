//! A panicking handler is restarted from its factory with fresh state. Other handlers go on, and the event is retried.

mod outside_handle;
mod own_actors;
mod user_code;

use actix::prelude::*;
use pubsub::{Channel, Delivery, Handled};
use pubsub_tests::{Sender, Sms, TestDatabase, probe, sending};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A way to answer.
trait AnswerKind: Sized + Unpin + 'static {
    type Answer: actix::dev::MessageResponse<Handler<Self>, Delivery<Sms>>;
    fn answer(delivery: Delivery<Sms>, panic: bool) -> Self::Answer;
}

/// Reports its own number and the delivery, and panics in its own way when the message is "panic".
struct Handler<M> {
    number: u32,
    seen: u32,
    sender: Sender<(u32, u32, String, u32)>,
    manner: std::marker::PhantomData<fn() -> M>,
}

impl<M: AnswerKind> Actor for Handler<M> {
    type Context = Context<Self>;
}

impl<M: AnswerKind> actix::Handler<Delivery<Sms>> for Handler<M> {
    type Result = M::Answer;

    fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> M::Answer {
        self.seen += 1;
        self.sender.send((self.number, self.seen, sms.msg.clone(), sms.attempt()));
        let panic = sms.msg == "panic" && sms.attempt() == 1;
        M::answer(sms, panic)
    }
}

struct Sync;
impl AnswerKind for Sync {
    type Answer = Handled;
    fn answer(_: Delivery<Sms>, panic: bool) -> Handled {
        assert!(!panic, "the handler broke");
        Ok(())
    }
}

struct Future;
impl AnswerKind for Future {
    type Answer = ResponseFuture<Handled>;
    fn answer(sms: Delivery<Sms>, panic: bool) -> Self::Answer {
        Box::pin(async move {
            actix_rt_yield().await;
            assert!(!panic, "the handler broke");
            drop(sms);
            Ok(())
        })
    }
}

/// Drops the delivery before it panics, so nothing in the future identifies the delivery.
struct FutureWithoutDelivery;
impl AnswerKind for FutureWithoutDelivery {
    type Answer = ResponseFuture<Handled>;
    fn answer(sms: Delivery<Sms>, panic: bool) -> Self::Answer {
        drop(sms);
        Box::pin(async move {
            actix_rt_yield().await;
            assert!(!panic, "the handler broke");
            Ok(())
        })
    }
}

struct ActFuture;
impl AnswerKind for ActFuture {
    type Answer = ResponseActFuture<Handler<Self>, Handled>;
    fn answer(sms: Delivery<Sms>, panic: bool) -> Self::Answer {
        let work = async move {
            actix_rt_yield().await;
            sms
        };
        Box::pin(actix::fut::wrap_future::<_, Handler<Self>>(work).map(move |sms, handler, _| {
            handler.seen += 0;
            assert!(!panic, "the handler broke");
            drop(sms);
            Ok(())
        }))
    }
}

struct Atomic;
impl AnswerKind for Atomic {
    type Answer = AtomicResponse<Handler<Self>, Handled>;
    fn answer(sms: Delivery<Sms>, panic: bool) -> Self::Answer {
        AtomicResponse::new(Box::pin(actix::fut::wrap_future::<_, Handler<Self>>(async move {
            actix_rt_yield().await;
            assert!(!panic, "the handler broke");
            drop(sms);
            Ok(())
        })))
    }
}

async fn actix_rt_yield() {
    tokio::task::yield_now().await;
}

async fn is_restarted_and_the_event_is_retried<M: AnswerKind>() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let (bystander, mut bystander_received) = probe();
    let built = Arc::new(AtomicU32::new(0));
    let pubsub = db
        .pubsub()
        .subscribe::<Sms, _>("panicky", move || Handler::<M> {
            number: built.fetch_add(1, Ordering::SeqCst) + 1,
            seen: 0,
            sender: sender.clone(),
            manner: std::marker::PhantomData,
        })
        .subscribe_fn("bystander", sending(bystander, |sms: Delivery<Sms>| sms.msg.clone()))
        .start()
        .await
        .unwrap();

    pubsub::publish(&pubsub, &Sms::new("first")).await.unwrap();
    assert_eq!(received.next().await, (1, 1, "first".into(), 1));
    pubsub::publish(&pubsub, &Sms::new("panic")).await.unwrap();
    assert_eq!(received.next().await, (1, 2, "panic".into(), 1));
    let (number, seen, msg, attempt) = received.next().await;
    assert_eq!(
        (number, seen, msg.as_str(), attempt),
        (2, 1, "panic", 2),
        "fresh state, and the next attempt"
    );
    pubsub::publish(&pubsub, &Sms::new("last")).await.unwrap();
    assert_eq!(received.next().await, (2, 2, "last".into(), 1));

    assert_eq!(bystander_received.take(3).await, ["first", "panic", "last"], "other handlers go on");
    db.until_settled().await;
    let status = pubsub.handlers().into_iter().find(|status| status.subscription == "panicky").unwrap();
    assert_eq!((status.handled, status.failed, status.restarts), (3, 1, 1));
    let panic = status.last_panic.unwrap();
    assert!(panic.contains("the handler broke") && panic.contains("supervision/mod.rs:"), "{panic}");
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
}

#[actix::test]
async fn a_panic_in_handle_itself_restarts_the_handler() {
    is_restarted_and_the_event_is_retried::<Sync>().await;
}

#[actix::test]
async fn a_panic_in_a_response_future_restarts_the_handler() {
    is_restarted_and_the_event_is_retried::<Future>().await;
}

#[actix::test]
async fn a_panic_after_the_delivery_was_dropped_restarts_the_handler() {
    is_restarted_and_the_event_is_retried::<FutureWithoutDelivery>().await;
}

#[actix::test]
async fn a_panic_in_an_actor_future_restarts_the_handler() {
    is_restarted_and_the_event_is_retried::<ActFuture>().await;
}

#[actix::test]
async fn a_panic_in_an_atomic_response_restarts_the_handler() {
    is_restarted_and_the_event_is_retried::<Atomic>().await;
}

#[actix::test]
async fn a_panic_is_recorded_with_its_message_and_place() {
    let db = TestDatabase::new().await;
    let pubsub = db
        .pubsub()
        .subscribe_fn("panicky", |sms: Delivery<Sms>| async move {
            assert!(sms.msg.is_empty(), "said {}", sms.msg);
            Ok(())
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    db.until_count("select count(*) from pubsub.dead_letters", 1).await;
    let error: String =
        db.client.query_one("select error from pubsub.dead_letters", &[]).await.unwrap().get(0);
    assert!(
        error.starts_with("panicked: said hello (at ") && error.contains("supervision/mod.rs:"),
        "{error}"
    );
}

/// Uses `!Send` values throughout: an actor lives on one thread.
#[actix::test]
async fn a_handler_need_not_be_send() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_fn("local", move |sms: Delivery<Sms>| {
            let (sender, local) = (sender.clone(), std::rc::Rc::new(sms));
            async move {
                tokio::task::yield_now().await;
                sender.send(local.msg.clone());
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.next().await, "hello");
}

/// A payload whose deserializer panics.
#[derive(Debug, Serialize, Channel)]
#[channel("booby", max_attempts = 2, backoff(initial = "1ms"))]
struct Undecodable {
    trap: bool,
}

impl<'de> Deserialize<'de> for Undecodable {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Plain {
            trap: bool,
        }
        let Plain { trap } = Plain::deserialize(deserializer)?;
        assert!(!trap, "the payload's reader broke");
        Ok(Self { trap })
    }
}

#[actix::test]
async fn a_panic_while_decoding_is_a_failed_attempt() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_fn("reader", sending(sender, |booby: Delivery<Undecodable>| booby.trap))
        .start()
        .await
        .unwrap();
    // A publisher in Rust would read it back, and panic.
    db.client.batch_execute("select pubsub.publish('booby', '{\"trap\": true}')").await.unwrap();
    pubsub::publish(&pubsub, &Undecodable { trap: false }).await.unwrap();
    assert!(!received.next().await);
    db.until_count("select count(*) from pubsub.dead_letters where error like '%reader broke%'", 1).await;
}

#[actix::test]
async fn deliveries_waiting_behind_a_panic_lose_no_attempt() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let _pubsub = db
        .pubsub()
        .subscribe_fn_with(
            "queue",
            pubsub::SubscribeOptions::new().concurrency(1),
            move |sms: Delivery<Sms>| {
                sender.send((sms.msg.clone(), sms.attempt()));
                assert!(!sms.msg.ends_with('5') || sms.attempt() > 1, "every tenth event panics");
                async { Ok(()) }
            },
        )
        .start()
        .await
        .unwrap();
    let events: Vec<Sms> = (0..40).map(|n| Sms::new(n.to_string())).collect();
    pubsub::publish_all(&db.client, &events).await.unwrap();
    let received = received.take(44).await;
    for n in 0..40 {
        let mine: Vec<_> =
            received.iter().filter(|(msg, _)| *msg == n.to_string()).map(|(_, attempt)| *attempt).collect();
        assert_eq!(mine, if n % 10 == 5 { vec![1, 2] } else { vec![1] }, "event {n}");
    }
    db.until_settled().await;
}

#[actix::test]
async fn renaming_the_rust_type_changes_no_payload() {
    // Without the derive, because a second derived type for one channel does not compile.
    #[derive(Serialize, Deserialize)]
    struct TextMessage {
        msg: String,
    }

    impl Channel for TextMessage {
        const NAME: &'static str = "sms";
    }
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_fn("renamed", sending(sender, |text: Delivery<TextMessage>| text.msg.clone()))
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.next().await, "hello");
}
