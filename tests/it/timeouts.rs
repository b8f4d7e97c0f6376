//! A delivery that takes too long is cancelled, counts as a failed attempt, and is retried.

use actix::prelude::*;
use pubsub::{Delivery, Handled, SubscribeOptions};
use pubsub_tests::{Sender, Sms, TestDatabase, probe};
use std::time::Duration;

const TIMEOUT: Duration = Duration::from_millis(100);

fn options() -> SubscribeOptions {
    SubscribeOptions::new().timeout(TIMEOUT)
}

/// Reports when it is dropped.
struct ReportOnDrop(Sender<&'static str>);

impl Drop for ReportOnDrop {
    fn drop(&mut self) {
        self.0.send("cancelled");
    }
}

/// Never finishes its first attempt, with one of the kinds of answer.
struct Slow {
    way: &'static str,
    sender: Sender<&'static str>,
}

impl Actor for Slow {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.sender.send("started");
    }
}

/// An answer of any kind.
enum Answer {
    Future(ResponseFuture<Handled>),
    ActFuture(ResponseActFuture<Slow, Handled>),
    Atomic(AtomicResponse<Slow, Handled>),
}

impl actix::dev::MessageResponse<Slow, Delivery<Sms>> for Answer {
    fn handle(self, context: &mut Context<Slow>, answer: Option<actix::dev::OneshotSender<Handled>>) {
        match self {
            Self::Future(future) => {
                actix::dev::MessageResponse::<Slow, Delivery<Sms>>::handle(future, context, answer);
            }
            Self::ActFuture(future) => {
                actix::dev::MessageResponse::<Slow, Delivery<Sms>>::handle(future, context, answer);
            }
            Self::Atomic(future) => {
                actix::dev::MessageResponse::<Slow, Delivery<Sms>>::handle(future, context, answer);
            }
        }
    }
}

impl Handler<Delivery<Sms>> for Slow {
    type Result = Answer;

    fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Answer {
        let sender = self.sender.clone();
        let work = async move {
            if sms.attempt() == 1 && sms.msg == "slow" {
                let _on_drop = ReportOnDrop(sender);
                return std::future::pending().await;
            }
            sender.send(if sms.msg == "slow" { "handled" } else { "bystander" });
            Ok(())
        };
        match self.way {
            "future" => Answer::Future(Box::pin(work)),
            "actor future" => Answer::ActFuture(Box::pin(work.into_actor(self))),
            _ => Answer::Atomic(AtomicResponse::new(Box::pin(work.into_actor(self)))),
        }
    }
}

async fn is_cancelled_and_retried(way: &'static str, restarts: u64) {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_with::<Sms, _>("slow", options(), move || Slow { way, sender: sender.clone() })
        .start()
        .await
        .unwrap();
    assert_eq!(received.next().await, "started");
    pubsub::publish(&pubsub, &Sms::new("slow")).await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("other")).await.unwrap();
    let mut said = Vec::new();
    while !said.contains(&"handled") {
        said.push(received.next().await);
    }
    db.until_settled().await;
    assert!(said.contains(&"cancelled"), "{said:?}");
    let status = pubsub.handlers().remove(0);
    assert_eq!((status.handled, status.failed, status.restarts), (2, 1, restarts), "{said:?}");
}

#[actix::test]
async fn a_slow_response_future_is_cancelled_and_retried() {
    is_cancelled_and_retried("future", 0).await;
}

#[actix::test]
async fn a_slow_actor_future_is_cancelled_and_retried() {
    is_cancelled_and_retried("actor future", 0).await;
}

#[actix::test]
async fn a_slow_atomic_response_restarts_its_actor() {
    is_cancelled_and_retried("atomic response", 1).await;
}

#[actix::test]
async fn without_attempts_left_the_timeout_is_the_reason() {
    let db = TestDatabase::new().await;
    let pubsub = db
        .pubsub()
        .subscribe_fn_with("stuck", options().max_attempts(2), |_: Delivery<Sms>| std::future::pending())
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    db.until_count("select count(*) from pubsub.dead_letters where reason = 'exhausted' and attempt = 2", 1)
        .await;
    let letters = pubsub.subscription::<Sms>("stuck").dead_letters(None, 1).await.unwrap();
    assert_eq!(letters[0].error.as_deref(), Some("timed out after 100ms"));
}

#[actix::test]
async fn a_handler_that_blocks_past_its_timeout_is_abandoned() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
    let pubsub = db
        .pubsub()
        .poll_interval(Duration::from_millis(50))
        .subscribe_fn_with("blocking", options(), move |sms: Delivery<Sms>| {
            sender.send((sms.msg.clone(), sms.attempt()));
            if sms.msg == "block" && sms.attempt() == 1 {
                // Until the test drops the other end.
                blocked.lock().unwrap().recv().unwrap_err();
                sender.send(("unblocked".into(), 0));
            }
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("block")).await.unwrap();
    assert_eq!(received.next().await, ("block".into(), 1));
    for n in 0..5 {
        pubsub::publish(&pubsub, &Sms::new(n.to_string())).await.unwrap();
    }
    let mut again = received.take(6).await;
    again.sort_unstable();
    let expected = [("0", 1), ("1", 1), ("2", 1), ("3", 1), ("4", 1), ("block", 2)];
    assert_eq!(
        again,
        expected.map(|(msg, attempt)| (msg.to_owned(), attempt)),
        "a delivery that had not started lost no attempt"
    );
    db.until_settled().await;
    assert_eq!(pubsub.handlers()[0].restarts, 1);
    // The late answer of the abandoned thread changes nothing.
    drop(unblock);
    assert_eq!(received.next().await, ("unblocked".into(), 0));
    assert!(pubsub.drain(Duration::from_secs(10)).await);
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
    let counted = &pubsub.handlers()[0];
    assert_eq!((counted.handled, counted.failed, counted.dead), (6, 1, 0), "a late answer counts nowhere");
}

#[actix::test]
async fn futures_spawned_by_a_handler_outlive_its_answer() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_fn_with("spawning", options(), move |_: Delivery<Sms>| {
            let sender = sender.clone();
            async move {
                actix::spawn(async move {
                    tokio::time::sleep(TIMEOUT * 2).await;
                    sender.send("afterwards");
                });
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.next().await, "afterwards");
    assert_eq!(pubsub.handlers()[0].handled, 1);
}

/// Runs a timer beside its deliveries.
struct Clock {
    sender: Sender<&'static str>,
}

impl Actor for Clock {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Clock {
    type Result = ResponseFuture<Handled>;

    fn handle(&mut self, sms: Delivery<Sms>, context: &mut Self::Context) -> Self::Result {
        if sms.attempt() == 2 {
            return Box::pin(async { Ok(()) });
        }
        if sms.msg == "later" {
            context.run_later(TIMEOUT * 3, |clock, _| clock.sender.send("rang"));
        }
        Box::pin(std::future::pending())
    }
}

#[actix::test]
async fn a_timeout_cancels_only_its_own_delivery() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_with::<Sms, _>("clock", options(), move || Clock { sender: sender.clone() })
        .start()
        .await
        .unwrap();
    for msg in ["stuck", "later", "stuck"] {
        pubsub::publish(&pubsub, &Sms::new(msg)).await.unwrap();
    }
    assert_eq!(received.next().await, "rang");
    db.until_settled().await;
    assert_eq!(pubsub.handlers()[0].restarts, 0);
}
