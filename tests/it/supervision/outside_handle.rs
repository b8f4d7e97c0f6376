//! Whatever else of an actor panics, a fresh one handles the event.

use actix::prelude::*;
use pubsub::{Delivery, Handled, HandlerState};
use pubsub_tests::{Sms, Stage, Tell, ear};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// What else of an actor can panic.
struct Troubled {
    number: u32,
    trouble: &'static str,
    tell: Tell<(u32, u32)>,
}

impl Actor for Troubled {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if self.number > 1 {
            return;
        }
        match self.trouble {
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
        assert!(self.trouble != "stopping" || self.number > 1, "in stopping");
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        assert!(self.trouble != "stopped" || self.number > 1, "in stopped");
    }
}

impl StreamHandler<u8> for Troubled {
    fn handle(&mut self, item: u8, _: &mut Self::Context) {
        panic!("in a stream's item {item}");
    }
}

impl Drop for Troubled {
    fn drop(&mut self) {
        assert!(self.trouble != "drop" || self.number > 1, "in drop");
    }
}

impl Handler<Delivery<Sms>> for Troubled {
    type Result = Handled;

    fn handle(&mut self, sms: Delivery<Sms>, context: &mut Self::Context) -> Handled {
        self.tell.tell((self.number, sms.attempt()));
        if self.number == 1 {
            match self.trouble {
                "drop" => panic!("so that it is dropped"),
                "stopping" | "stopped" => context.stop(),
                _ => {}
            }
            return Err("not this one".into());
        }
        Ok(())
    }
}

/// Whatever panics in the first handler, the second one handles the event.
async fn recovers_from(trouble: &'static str) {
    let stage = Stage::new().await;
    let (tell, mut heard) = ear();
    let built = Arc::new(AtomicU32::new(0));
    let pubsub = stage
        .pubsub()
        .subscribe::<Sms, _>("troubled", move || Troubled {
            number: built.fetch_add(1, Ordering::SeqCst) + 1,
            trouble,
            tell: tell.clone(),
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    loop {
        let (number, attempt) = heard.next().await;
        if number > 1 {
            assert!(attempt <= 4);
            break;
        }
    }
    stage.until_settled().await;
    assert!(pubsub.handlers()[0].restarts >= 1);
    assert_eq!(stage.count("select count(*) from pubsub.dead_letters").await, 0);
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
async fn a_panic_in_a_future_that_is_waited_for_restarts_the_handler() {
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
async fn a_panic_in_the_factory_is_tried_again() {
    let stage = Stage::new().await;
    let (tell, mut heard) = ear();
    let built = Arc::new(AtomicU32::new(0));
    let pubsub = stage
        .pubsub()
        .subscribe::<Sms, _>("unbuilt", move || {
            let number = built.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(number > 3, "no connection yet");
            Troubled { number, trouble: "none", tell: tell.clone() }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(heard.next().await, (4, 1), "no attempt was burned");
    assert_eq!(pubsub.handlers()[0].restarts, 3);
}

#[actix::test]
async fn a_handler_that_dies_too_often_waits_while_the_others_go_on_and_then_recovers() {
    let stage = Stage::new().await;
    let (tell, mut heard) = ear();
    let (bystander, mut bystander_heard) = ear();
    let built = Arc::new(AtomicU32::new(0));
    let pubsub = stage
        .pubsub()
        .subscribe::<Sms, _>("unbuilt", move || {
            let number = built.fetch_add(1, Ordering::SeqCst) + 1;
            assert!(number > 6, "one death more than are forgiven at once");
            Troubled { number, trouble: "none", tell: tell.clone() }
        })
        .subscribe_fn("bystander", move |sms: Delivery<Sms>| {
            bystander.tell(sms.into_payload().msg);
            async { Ok(()) }
        })
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
    assert_eq!(bystander_heard.next().await, "hello");
    assert_eq!(heard.next().await, (7, 1), "it heals by itself, and no attempt was burned");
    assert_eq!(state(&pubsub), HandlerState::Running);
    assert!(pubsub.handlers()[0].last_panic.as_ref().unwrap().contains("one death more"));
}

#[actix::test]
async fn another_process_takes_what_a_quarantined_handler_cannot() {
    let stage = Stage::new().await;
    let (tell, mut heard) = ear();
    let sick = stage.pubsub().subscribe::<Sms, Troubled>("shared", || panic!("never")).start().await.unwrap();
    let until = std::time::Instant::now() + pubsub_tests::DEADLINE;
    while sick.handlers()[0].state != HandlerState::Quarantined {
        assert!(std::time::Instant::now() < until);
        tokio::task::yield_now().await;
    }
    let _healthy = stage
        .pubsub()
        .subscribe_fn("shared", move |sms: Delivery<Sms>| {
            tell.tell((sms.msg.clone(), sms.attempt()));
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    for n in 0..20 {
        pubsub::publish(&sick, &Sms::new(n.to_string())).await.unwrap();
    }
    assert!(heard.take(20).await.iter().all(|(_, attempt)| *attempt == 1));
}

#[actix::test]
async fn a_handler_that_blocks_its_thread_holds_up_nobody_else_and_runs_once() {
    let stage = Stage::new().await;
    let (tell, mut heard) = ear();
    let (bystander, mut bystander_heard) = ear();
    let limit = Duration::from_millis(300);
    let pubsub = stage
        .pubsub()
        .heartbeat(Duration::from_millis(50), limit)
        .subscribe_fn("blocked", move |sms: Delivery<Sms>| {
            tell.tell("begun");
            std::thread::sleep(limit * 10);
            tell.tell("done");
            drop(sms);
            async { Ok(()) }
        })
        .subscribe_fn("bystander", move |sms: Delivery<Sms>| {
            bystander.tell(sms.into_payload().msg);
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("first")).await.unwrap();
    assert_eq!(heard.next().await, "begun");
    pubsub::publish(&pubsub, &Sms::new("second")).await.unwrap();
    assert_eq!(bystander_heard.take(2).await, ["first", "second"]);
    assert!(heard.rest().is_empty(), "still blocked: its thread, and nobody else's");
    assert_eq!(heard.take(3).await, ["done", "begun", "done"]);
    stage.until_settled().await;
    assert!(
        heard.rest().is_empty(),
        "nobody took it for dead, although it was silent for ten times the limit"
    );
}
