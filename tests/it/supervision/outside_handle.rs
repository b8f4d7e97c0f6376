//! After a panic of an actor outside of `handle`, a fresh actor handles the event.

use actix::prelude::*;
use pubsub::status::HandlerState;
use pubsub::{Delivery, Handled};
use pubsub_tests::{Sender, Sms, TestDatabase, probe, sending};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// An actor that panics in one of its other methods or futures.
struct PanickingActor {
    number: u32,
    place: &'static str,
    sender: Sender<(u32, u32)>,
}

impl Actor for PanickingActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if self.number > 1 {
            return;
        }
        match self.place {
            "started" => panic!("in started"),
            "interval" => {
                context.run_interval(Duration::from_millis(1), |_, _| panic!("in an interval"));
            }
            "spawn" => {
                context.spawn(async { panic!("in a spawned future") }.into_actor(self));
            }
            "wait" => context.wait(async { panic!("in a future that is waited for") }.into_actor(self)),
            "stream" => {
                context.add_stream(futures_util::stream::once(async { 7_u8 }));
            }
            "stop" => {
                context.run_later(Duration::from_millis(1), |_, context| context.stop());
            }
            _ => {}
        }
    }

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        assert!(self.place != "stopping" || self.number > 1, "in stopping");
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        assert!(self.place != "stopped" || self.number > 1, "in stopped");
    }
}

impl StreamHandler<u8> for PanickingActor {
    fn handle(&mut self, item: u8, _: &mut Self::Context) {
        panic!("in a stream's item {item}");
    }
}

impl Drop for PanickingActor {
    fn drop(&mut self) {
        assert!(self.place != "drop" || self.number > 1, "in drop");
    }
}

impl Handler<Delivery<Sms>> for PanickingActor {
    type Result = Handled;

    fn handle(&mut self, sms: Delivery<Sms>, context: &mut Self::Context) -> Handled {
        self.sender.send((self.number, sms.attempt()));
        if self.number == 1 {
            match self.place {
                "drop" => panic!("so that the actor is dropped"),
                "stopping" | "stopped" => context.stop(),
                _ => {}
            }
            return Err("not this one".into());
        }
        Ok(())
    }
}

/// Checks that the second actor handles the event after the first one has panicked.
async fn recovers_from(place: &'static str) {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let built = Arc::new(AtomicU32::new(0));
    let pubsub = db
        .pubsub()
        .subscribe::<Sms, _>("troubled", move || PanickingActor {
            number: built.fetch_add(1, Ordering::SeqCst) + 1,
            place,
            sender: sender.clone(),
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    loop {
        let (number, attempt) = received.next().await;
        if number > 1 {
            assert!(attempt <= 4);
            break;
        }
    }
    db.until_settled().await;
    assert!(pubsub.handlers()[0].restarts >= 1);
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
}

#[actix::test]
async fn a_panic_in_started_restarts_the_handler() {
    recovers_from("started").await;
}

#[actix::test]
async fn a_panic_in_an_interval_restarts_the_handler() {
    recovers_from("interval").await;
}

#[actix::test]
async fn a_panic_in_a_spawned_future_restarts_the_handler() {
    recovers_from("spawn").await;
}

#[actix::test]
async fn a_panic_in_an_awaited_future_restarts_the_handler() {
    recovers_from("wait").await;
}

#[actix::test]
async fn a_panic_in_stopping_restarts_the_handler() {
    recovers_from("stopping").await;
}

#[actix::test]
async fn a_panic_in_stopped_restarts_the_handler() {
    recovers_from("stopped").await;
}

#[actix::test]
async fn a_panic_in_a_stream_restarts_the_handler() {
    recovers_from("stream").await;
}

#[actix::test]
async fn a_panic_in_drop_restarts_the_handler() {
    recovers_from("drop").await;
}

#[actix::test]
async fn a_handler_that_stops_itself_is_restarted() {
    recovers_from("stop").await;
}

#[actix::test]
async fn a_factory_that_panics_is_called_again() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let built = Arc::new(AtomicU32::new(0));
    let pubsub = db
        .pubsub()
        .subscribe::<Sms, _>("unbuilt", move || {
            let number = built.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(number > 3, "no connection yet");
            PanickingActor { number, place: "none", sender: sender.clone() }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.next().await, (4, 1), "no attempt was burned");
    assert_eq!(pubsub.handlers()[0].restarts, 3);
}

#[actix::test]
async fn a_handler_that_dies_too_often_is_quarantined_and_recovers() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let (bystander, mut bystander_received) = probe();
    let built = Arc::new(AtomicU32::new(0));
    let pubsub = db
        .pubsub()
        .subscribe::<Sms, _>("unbuilt", move || {
            let number = built.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(number > 6, "one death more than restarts at once");
            PanickingActor { number, place: "none", sender: sender.clone() }
        })
        .subscribe_fn("bystander", sending(bystander, |sms: Delivery<Sms>| sms.msg.clone()))
        .start()
        .await
        .unwrap();
    let state = |pubsub: &pubsub::PubSub| pubsub.handlers()[0].state;
    let until = std::time::Instant::now() + pubsub_tests::DEADLINE;
    while state(&pubsub) != HandlerState::Quarantined {
        assert!(std::time::Instant::now() < until);
        tokio::task::yield_now().await;
    }
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(bystander_received.next().await, "hello");
    assert_eq!(received.next().await, (7, 1), "it heals by itself, and no attempt was burned");
    assert_eq!(state(&pubsub), HandlerState::Running);
    assert!(pubsub.handlers()[0].last_panic.as_ref().unwrap().contains("one death more"));
}

#[actix::test]
async fn another_process_handles_the_events_of_a_quarantined_handler() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let sick =
        db.pubsub().subscribe::<Sms, PanickingActor>("shared", || panic!("never")).start().await.unwrap();
    let until = std::time::Instant::now() + pubsub_tests::DEADLINE;
    while sick.handlers()[0].state != HandlerState::Quarantined {
        assert!(std::time::Instant::now() < until);
        tokio::task::yield_now().await;
    }
    let _healthy = db
        .pubsub()
        .subscribe_fn("shared", sending(sender, |sms: Delivery<Sms>| (sms.msg.clone(), sms.attempt())))
        .start()
        .await
        .unwrap();
    for n in 0..20 {
        pubsub::publish(&sick, &Sms::new(n.to_string())).await.unwrap();
    }
    assert!(received.take(20).await.iter().all(|(_, attempt)| *attempt == 1));
}

#[actix::test]
async fn a_blocked_handler_delays_no_other_and_runs_once() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let (bystander, mut bystander_received) = probe();
    let limit = Duration::from_millis(300);
    let pubsub = db
        .pubsub()
        .heartbeat_interval(Duration::from_millis(50))
        .silence_limit(limit)
        .subscribe_fn("blocked", move |sms: Delivery<Sms>| {
            sender.send("started");
            std::thread::sleep(limit * 10);
            sender.send("done");
            drop(sms);
            async { Ok(()) }
        })
        .subscribe_fn("bystander", sending(bystander, |sms: Delivery<Sms>| sms.msg.clone()))
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("first")).await.unwrap();
    assert_eq!(received.next().await, "started");
    pubsub::publish(&pubsub, &Sms::new("second")).await.unwrap();
    assert_eq!(bystander_received.take(2).await, ["first", "second"]);
    assert!(received.rest().is_empty(), "only the handler's own thread is blocked");
    assert_eq!(received.take(3).await, ["done", "started", "done"]);
    db.until_settled().await;
    assert!(
        received.rest().is_empty(),
        "it was not declared dead, although its handler was silent for ten times the limit"
    );
}
