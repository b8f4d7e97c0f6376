//! The runtime's own actors are restarted when they panic, while events flow.

use pubsub::testing::{strike, strikes_have_hit};
use pubsub::{Delivery, Failure, PubSub, publish};
use pubsub_tests::{DEADLINE, Role, Sms, Stage, connect, ear, play};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const ACTORS: [&str; 5] = ["listener", "dispatcher", "scheduler", "heartbeat", "janitor"];

/// Events per strike.
const EVENTS: usize = 20;

/// A process of its own, because a strike hits every actor of that name in its process.
#[actix::test]
#[ignore = "a role, started by other tests"]
async fn role_is_struck() {
    let Some((url, say)) = play() else { return };
    let (tell, mut heard) = ear();
    let pubsub = PubSub::builder(&url)
        .poll_interval(Duration::from_millis(100))
        .subscribe_fn("one", move |sms: Delivery<Sms>| {
            let tell = tell.clone();
            async move {
                // Every third is in the mailbox for a while.
                if sms.attempt() == 1 && sms.msg.ends_with('3') {
                    return Err(Failure::retry_after(Duration::from_millis(20), "not yet"));
                }
                tell.tell(sms.msg.clone());
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    let client = connect(&url).await;
    for round in 0..3 {
        for actor in ACTORS {
            strike(actor);
            let mut missing = BTreeSet::new();
            for n in 0..EVENTS {
                let msg = format!("{round} {actor} {n}");
                publish(&client, &Sms::new(&msg)).await.unwrap();
                missing.insert(msg);
            }
            while !missing.is_empty() {
                missing.remove(&heard.next().await);
            }
            // An actor that was not restarted is not hit again.
            let until = Instant::now() + DEADLINE / 2;
            while !strikes_have_hit() {
                assert!(Instant::now() < until, "the {actor} is gone");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            say(actor);
        }
    }
    let same = "select count(*) from pubsub.processes where id = 1";
    let same: i64 = client.query_one(same, &[]).await.unwrap().get(0);
    assert_eq!(same, 1, "nobody took it for dead");
    assert!(pubsub.drain(Duration::from_secs(30)).await);
    say("drained");
}

#[actix::test]
async fn each_of_our_own_actors_may_die_while_events_flow() {
    let stage = Stage::new().await;
    let role = Role::start("supervision::own_actors::role_is_struck", stage.database.url());
    for _ in 0..3 {
        for actor in ACTORS {
            assert_eq!(role.next().await, actor);
        }
    }
    assert_eq!(role.next().await, "drained");
    stage.until_settled().await;
    assert_eq!(stage.count("select count(*) from pubsub.dead_letters").await, 0);
}
