//! Events of one key are handled in order by an ordered subscription; a failing key blocks only itself.

mod moved;

use pubsub::{Delivery, Failure, PubSub, PublishOptions, SubscribeOptions, publish_with};
use pubsub_tests::{DEADLINE, Heard, Role, Sms, Stage, Tell, connect, ear, play};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::Client;

fn ordered() -> SubscribeOptions {
    SubscribeOptions::new().ordered()
}

/// Publishes the `n`th event of a key.
async fn publish(client: &Client, key: &str, n: usize) {
    let sms = Sms::new(format!("{key}:{n}"));
    publish_with(client, &sms, &PublishOptions::new().key(key)).await.unwrap();
}

/// The key and the number of an event.
fn place(sms: &Sms) -> (String, usize) {
    let (key, n) = sms.msg.split_once(':').expect("key:n");
    (key.to_owned(), n.parse().expect("a number"))
}

/// What a handler does with an event.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Begins,
    Ends,
}

/// Sees that an event begins only once all earlier ones of its key have ended well; any number of times.
#[derive(Debug, Default)]
struct Checker {
    ended: HashMap<String, usize>,
}

impl Checker {
    fn see(&mut self, act: Act, key: &str, n: usize) {
        let ended = self.ended.entry(key.to_owned()).or_default();
        match act {
            Act::Begins => assert!(n <= *ended, "{key}:{n} begins, and only {ended} have ended"),
            Act::Ends => *ended = (*ended).max(n + 1),
        }
    }
}

/// A runtime whose handler takes its time, and tells of every beginning and end.
async fn slow(
    stage: &Stage,
    options: SubscribeOptions,
    fails: fn(&Delivery<Sms>) -> bool,
) -> (PubSub, Heard<(Act, String, usize)>) {
    let (tell, heard): (Tell<(Act, String, usize)>, _) = ear();
    let handle = move |sms: Delivery<Sms>| {
        let tell = tell.clone();
        async move {
            let (key, n) = place(&sms);
            tell.tell((Act::Begins, key.clone(), n));
            tokio::time::sleep(Duration::from_millis(3).mul_f64(fastrand::f64())).await;
            if fails(&sms) {
                return Err(Failure::retry("not yet"));
            }
            tell.tell((Act::Ends, key, n));
            Ok(())
        }
    };
    let pubsub = stage.pubsub().subscribe_fn_with("ordered", options, handle).start().await.unwrap();
    (pubsub, heard)
}

#[actix::test]
async fn events_of_one_key_are_handled_one_after_another_in_publish_order() {
    let stage = Stage::new().await;
    let (_pubsub, mut heard) = slow(&stage, ordered(), |_| false).await;
    for n in 0..30 {
        for key in ["a", "b", "c", "d", "e"] {
            publish(&stage.client, key, n).await;
        }
    }
    let (mut checker, mut at_work, mut peak) = (Checker::default(), BTreeSet::new(), 0);
    for (act, key, n) in heard.take(2 * 5 * 30).await {
        checker.see(act, &key, n);
        match act {
            Act::Begins => assert!(at_work.insert(key), "two of one key at once"),
            Act::Ends => assert!(at_work.remove(&key)),
        }
        peak = peak.max(at_work.len());
    }
    assert!(peak > 1, "keys are handled side by side");
    stage.until_settled().await;
}

#[actix::test]
async fn events_without_a_key_are_handled_side_by_side() {
    let stage = Stage::new().await;
    let (tell, mut heard) = ear();
    let gate = Arc::new(tokio::sync::Barrier::new(4));
    let handle = move |sms: Delivery<Sms>| {
        let (tell, gate) = (tell.clone(), gate.clone());
        async move {
            gate.wait().await;
            tell.tell(sms.msg.clone());
            Ok(())
        }
    };
    let pubsub = stage.pubsub().subscribe_fn_with("ordered", ordered(), handle).start().await.unwrap();
    for n in 0..4 {
        pubsub::publish(&pubsub, &Sms::new(n.to_string())).await.unwrap();
    }
    heard.take(4).await;
}

#[actix::test]
async fn a_failing_key_holds_up_its_own_later_events_and_nothing_else() {
    let stage = Stage::new().await;
    // "bad" fails until it is let go.
    static LET_GO: AtomicBool = AtomicBool::new(false);
    let options = ordered().max_attempts(1_000);
    let fails = |sms: &Delivery<Sms>| sms.msg == "bad:0" && !LET_GO.load(Ordering::Relaxed);
    let (_pubsub, mut heard) = slow(&stage, options, fails).await;
    for n in 0..20 {
        publish(&stage.client, "bad", n).await;
        publish(&stage.client, "good", n).await;
    }
    let (mut checker, mut good) = (Checker::default(), 0);
    while good < 20 {
        let (act, key, n) = heard.next().await;
        checker.see(act, &key, n);
        good += usize::from(key == "good" && act == Act::Ends);
    }
    let parked = "select count(*) from pubsub.mailbox where due_at = 'infinity'";
    stage.until_count(parked, 19).await;
    assert_eq!(
        stage.count("select count(*) from pubsub.mailbox where attempt > 0").await,
        1,
        "no attempt was burned"
    );

    LET_GO.store(true, Ordering::Relaxed);
    let mut bad = 0;
    while bad < 20 {
        let (act, key, n) = heard.next().await;
        checker.see(act, &key, n);
        bad += usize::from(key == "bad" && act == Act::Ends);
    }
    stage.until_settled().await;
}

#[actix::test]
async fn behind_a_dead_letter_its_key_goes_on() {
    let stage = Stage::new().await;
    let (tell, mut heard) = ear();
    let handle = move |sms: Delivery<Sms>| {
        let (_, n) = place(&sms);
        tell.tell((n, sms.attempt()));
        std::future::ready(match n {
            1 => Err(Failure::reject("never")),
            3 => Err(Failure::retry("no")),
            _ => Ok(()),
        })
    };
    let options = ordered().max_attempts(2);
    let _pubsub = stage.pubsub().subscribe_fn_with("ordered", options, handle).start().await.unwrap();
    for n in 0..6 {
        publish(&stage.client, "a", n).await;
    }
    let heard = heard.take(7).await;
    assert_eq!(heard, [(0, 1), (1, 1), (2, 1), (3, 1), (3, 2), (4, 1), (5, 1)]);
    stage.until_settled().await;
    assert_eq!(stage.count("select count(*) from pubsub.dead_letters").await, 2);
}

/// A process that keeps a book of what its handler begins and ends, and fails now and then.
#[actix::test]
#[ignore = "a role, started by other tests"]
async fn role_keeps_a_book_in_order() {
    let Some((url, tell)) = play() else { return };
    let client = Arc::new(connect(&url).await);
    let note = "insert into public.book (act, key, n) values ($1, $2, $3)";
    let handle = move |sms: Delivery<Sms>| {
        let client = client.clone();
        async move {
            let (key, n) = place(&sms);
            let n = n as i32;
            client.execute(note, &[&"begins", &key, &n]).await?;
            tokio::time::sleep(Duration::from_millis(5).mul_f64(fastrand::f64())).await;
            if fastrand::u8(..) < 8 {
                return Err(Failure::retry_after(Duration::from_millis(fastrand::u64(..20)), "bad luck"));
            }
            client.execute(note, &[&"ends", &key, &n]).await?;
            Ok(())
        }
    };
    let options = ordered().max_attempts(1_000);
    let pubsub = PubSub::builder(url).subscribe_fn_with("ordered", options, handle).start().await.unwrap();
    tell(&std::process::id().to_string());
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
    terminate.recv().await;
    assert!(pubsub.drain(DEADLINE / 2).await);
}

/// How many processes are killed or drained. More for a long run.
fn rounds() -> usize {
    let rounds = std::env::var("PUBSUB_ORDER_ROUNDS").ok();
    rounds.map_or(6, |rounds| rounds.parse().expect("PUBSUB_ORDER_ROUNDS is a number"))
}

#[actix::test]
async fn the_order_of_a_key_holds_across_processes_retries_crashes_drains_and_changes_of_the_lanes() {
    const KEYS: usize = 40;
    let stage = Stage::new().await;
    let book = "create table book (id bigserial primary key, act text not null, key text not null, n integer not null)";
    stage.client.batch_execute(book).await.unwrap();
    let (pubsub, _) = slow(&stage, ordered(), |_| false).await;
    assert!(pubsub.drain(DEADLINE).await);

    let over = Arc::new(AtomicBool::new(false));
    let publishing = actix::spawn({
        let (url, over) = (stage.database.url().to_owned(), over.clone());
        async move {
            let client = connect(&url).await;
            let mut counts = BTreeMap::new();
            while !over.load(Ordering::Relaxed) {
                let key = format!("k{}", fastrand::usize(..KEYS));
                let n = counts.entry(key.clone()).or_insert(0);
                publish(&client, &key, *n).await;
                *n += 1;
                if fastrand::u8(..) < 64 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
            counts
        }
    });
    let start = || Role::start("ordered::role_keeps_a_book_in_order", stage.database.url());
    let mut roles = vec![start(), start(), start()];
    for round in 0..rounds() {
        let mut role = roles.remove(0);
        role.next().await;
        roles.push(start());
        tokio::time::sleep(Duration::from_millis(500).mul_f64(fastrand::f64())).await;
        if round % 3 == 2 {
            let lanes = format!(
                "select pubsub.subscribe('sms', 'ordered', 1000, lanes => {}) from pubsub.channels limit 1",
                fastrand::i32(1..12)
            );
            stage.client.batch_execute(&lanes).await.unwrap();
        }
        role.signal(if round % 2 == 0 { "KILL" } else { "TERM" });
        role.ended().await;
    }
    over.store(true, Ordering::Relaxed);
    let published = publishing.await.unwrap();
    let count: usize = published.values().sum();
    let ended = "select count(distinct (key, n)) from book where act = 'ends'";
    stage.until_count(ended, count as i64).await;
    stage.until_settled().await;

    let mut checker = Checker::default();
    for row in stage.client.query("select act, key, n from book order by id", &[]).await.unwrap() {
        let act = if row.get::<_, &str>(0) == "begins" { Act::Begins } else { Act::Ends };
        checker.see(act, row.get(1), row.get::<_, i32>(2) as usize);
    }
    assert_eq!(stage.count("select count(*) from pubsub.dead_letters").await, 0);
    for role in roles {
        role.next().await;
        role.signal("TERM");
    }
}

/// How many lanes each process has.
const SHARES: &str = "select coalesce(string_agg(n::text, ',' order by n), '') from (select count(*) as n from pubsub.lanes where process is not null group by process) s";

async fn until_shares(stage: &Stage, expected: &str) {
    stage
        .until_count(&format!("select count(*) from ({SHARES}) s (shares) where shares = '{expected}'"), 1)
        .await;
}

#[actix::test]
async fn lanes_are_spread_over_the_processes_and_move_when_one_joins_drains_or_dies() {
    let stage = Stage::new().await;
    let (first, _heard) = slow(&stage, ordered(), |_| false).await;
    until_shares(&stage, "8").await;
    let (second, _heard) = slow(&stage, ordered(), |_| false).await;
    until_shares(&stage, "4,4").await;
    let (third, _heard) = slow(&stage, ordered(), |_| false).await;
    until_shares(&stage, "2,3,3").await;
    assert!(first.drain(DEADLINE).await);
    until_shares(&stage, "4,4").await;
    // As if it had died.
    stage
        .client
        .batch_execute(
            "update pubsub.processes set beat_at = 'epoch' where id = (select max(id) from pubsub.processes)",
        )
        .await
        .unwrap();
    stage.client.batch_execute("select pubsub.reclaim('10 s')").await.unwrap();
    until_shares(&stage, "4,4").await;
    assert!(second.drain(DEADLINE).await);
    until_shares(&stage, "8").await;
    drop(third);
}

#[actix::test]
async fn the_number_of_lanes_changes_while_events_wait_and_none_is_lost_or_out_of_order() {
    let stage = Stage::new().await;
    let mut next = 0;
    let mut checker = Checker::default();
    // Unordered, ordered, more lanes, fewer lanes, unordered again.
    for lanes in [None, Some(8), Some(13), Some(2), None, Some(1)] {
        for n in next..next + 20 {
            for key in ["a", "b", "c"] {
                // Undeclared before the first start.
                stage.client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
                publish(&stage.client, key, n).await;
            }
        }
        let options = lanes.map_or_else(SubscribeOptions::new, |lanes| ordered().lanes(lanes));
        let (pubsub, mut heard) = slow(&stage, options, |_| false).await;
        // What was published before the first subscription is not for it.
        let from = if next == 0 { 20 } else { next };
        if next == 0 {
            for n in 20..40 {
                for key in ["a", "b", "c"] {
                    publish(&stage.client, key, n).await;
                }
            }
            checker.ended = ["a", "b", "c"].map(|key| (key.to_owned(), 20)).into();
        }
        next = from + 20;
        let acts = heard.take(2 * 3 * 20).await;
        for (act, key, n) in acts {
            assert!((from..next).contains(&n));
            if lanes.is_some() || act == Act::Ends {
                checker.see(act, &key, n);
            }
        }
        stage.until_settled().await;
        assert!(pubsub.drain(DEADLINE).await);
    }
    assert_eq!(stage.count("select lanes::bigint from pubsub.subscriptions").await, 1);
}
