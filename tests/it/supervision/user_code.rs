//! The user's code may break anything of its own: the text of its errors, its arbiter, the panic hook. The runtime goes on.

use super::actix_rt_yield;
use actix::prelude::*;
use pubsub::status::HandlerState;
use pubsub::{Delivery, Failure, Handled, PubSub, SubscribeOptions, publish_all};
use pubsub_tests::{ChildProcess, DEADLINE, Sender, Sms, TestDatabase, in_child_process, probe, sending};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// An error whose text cannot be written, one way or another.
#[derive(Debug)]
struct Unwritable {
    panics: bool,
}

impl fmt::Display for Unwritable {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(!self.panics, "no text");
        Err(fmt::Error)
    }
}

impl std::error::Error for Unwritable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self) // and its causes have no end
    }
}

fn numbered(count: usize) -> Vec<Sms> {
    (0..count).map(|n| Sms::new(n.to_string())).collect()
}

#[actix::test]
async fn an_error_without_a_text_is_a_failed_attempt() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handle = move |sms: Delivery<Sms>| {
        sender.send(sms.attempt());
        let error = Unwritable { panics: sms.msg == "1" };
        std::future::ready(if sms.attempt() == 1 { Err(Failure::reject(error)) } else { Ok(()) })
    };
    let pubsub = db.pubsub().subscribe_fn("broken", handle).start().await.unwrap();
    publish_all(&db.client, &numbered(50)).await.unwrap();
    received.take(50).await;
    let placeholder =
        "select count(*) from pubsub.dead_letters where error like '%an error whose text cannot be written%'";
    db.until_count(placeholder, 50).await;
    let status = &pubsub.handlers()[0];
    assert_eq!((status.restarts, status.state), (0, HandlerState::Running));
}

#[actix::test]
async fn a_handler_that_stops_its_arbiter_is_replaced() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handle = move |sms: Delivery<Sms>| {
        let sender = sender.clone();
        async move {
            if sms.msg == "2" && sms.attempt() < 3 {
                Arbiter::current().stop();
                return std::future::pending().await;
            }
            sender.send((sms.msg.clone(), sms.attempt()));
            Ok(())
        }
    };
    // One at a time, so that nothing is interrupted but the deliveries that stop the arbiter.
    let options = SubscribeOptions::new().concurrency(1);
    let pubsub = db.pubsub().subscribe_fn_with("stopping", options, handle).start().await.unwrap();
    publish_all(&db.client, &numbered(50)).await.unwrap();
    let mut handled = received.take(50).await;
    handled.sort_by_key(|(msg, _)| msg.parse::<u32>().unwrap());
    let expected =
        numbered(50).into_iter().map(|sms| if sms.msg == "2" { (sms.msg, 3) } else { (sms.msg, 1) });
    assert_eq!(handled, expected.collect::<Vec<_>>());
    db.until_settled().await;
    let status = &pubsub.handlers()[0];
    assert_eq!((status.restarts, status.state), (2, HandlerState::Running));
    assert!(pubsub.drain(DEADLINE).await);
}

/// Panics in the future of every delivery, after the application has replaced the panic hook.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_replaces_the_panic_hook() {
    let Some((url, report)) = in_child_process() else { return };
    let handle = |sms: Delivery<Sms>| async move {
        actix_rt_yield().await;
        assert!(sms.msg != "0", "the handler broke");
        Ok(())
    };
    let pubsub = PubSub::builder(url).subscribe_fn("panicky", handle).start().await.unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    publish_all(&pubsub, &numbered(2)).await.unwrap();
    loop {
        let status = &pubsub.handlers()[0];
        // The dead letter may be there before the last restart.
        if status.dead == 1 && status.restarts >= 3 {
            report(&format!("{} restarts, {} handled", status.restarts, status.handled));
            return std::future::pending().await;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

#[actix::test]
async fn a_replaced_panic_hook_hides_no_panic() {
    let db = TestDatabase::new().await;
    let child = ChildProcess::start("supervision::user_code::child_replaces_the_panic_hook", db.url());
    assert_eq!(child.next().await, "3 restarts, 1 handled");
    let dead =
        "select count(*) from pubsub.dead_letters where reason = 'panicked' and panics = 3 and attempt = 3";
    db.until_count(dead, 1).await;
}

/// Handles nothing any more after the first "die".
struct Mortal {
    sender: Sender<String>,
}

impl Actor for Mortal {
    type Context = Context<Self>;
}

impl actix::Handler<Delivery<Sms>> for Mortal {
    type Result = Handled;

    fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Handled {
        assert!(sms.msg != "die", "as told");
        self.sender.send(sms.msg.clone());
        Ok(())
    }
}

#[actix::test]
async fn a_quarantined_handler_gives_up_its_lanes() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let (options, built) = (|| SubscribeOptions::new().ordered().lanes(4), AtomicU32::new(0));
    let to_test = sender.clone();
    let mortal = db.pubsub().subscribe_with::<Sms, _>("ordered", options(), move || {
        let number = built.fetch_add(1, Ordering::Relaxed);
        assert!(number == 0, "it never comes back");
        Mortal { sender: to_test.clone() }
    });
    let mortal = mortal.start().await.unwrap();
    let publish = async |msg: &str, key: &str| {
        let payload = serde_json::json!({ "msg": msg });
        db.client.execute("select pubsub.publish('sms', $1, $2)", &[&payload, &key]).await.unwrap();
    };
    publish("die", "a").await;
    while mortal.handlers()[0].state != HandlerState::Quarantined {
        tokio::task::yield_now().await;
    }
    let heir = db.pubsub().subscribe_fn_with(
        "ordered",
        options(),
        sending(sender, |sms: Delivery<Sms>| sms.msg.clone()),
    );
    let _heir = heir.start().await.unwrap();
    for n in 0..20 {
        publish(&n.to_string(), &n.to_string()).await;
    }
    let mut handled = received.take(21).await;
    handled.sort();
    let mut expected: Vec<_> =
        numbered(20).into_iter().map(|sms| sms.msg).chain(["die".to_owned()]).collect();
    expected.sort();
    assert_eq!(handled, expected, "the heir gets every key");
    assert_eq!(mortal.handlers()[0].handled, 0);
}
