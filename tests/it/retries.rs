//! A failing handler is retried with backoff up to its limit. Then the event is a dead letter that can be redriven.

use pubsub::subscription::Reason;
use pubsub::{Backoff, Delivery, Failure, Handled, SubscribeOptions};
use pubsub_tests::{Email, Sms, TestDatabase, connect, probe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Fails until attempt `succeed_at`.
fn failing(
    succeed_at: u32,
    sender: pubsub_tests::Sender<u32>,
) -> impl Fn(Delivery<Sms>) -> std::future::Ready<Handled> + Clone {
    move |sms: Delivery<Sms>| {
        sender.send(sms.attempt());
        std::future::ready(if sms.attempt() < succeed_at {
            Err("the provider is down".into())
        } else {
            Ok(())
        })
    }
}

#[actix::test]
async fn a_failing_handler_is_retried_until_it_succeeds() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db.pubsub().subscribe_fn("flaky", failing(4, sender)).start().await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.take(4).await, [1, 2, 3, 4]);
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
}

#[actix::test]
async fn retry_times_follow_the_declared_backoff() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let hour = Duration::from_secs(3_600);
    let options =
        SubscribeOptions::new().backoff(Backoff::exponential(hour).max(3 * hour).jitter(0.0)).max_attempts(9);
    let pubsub = db.pubsub().subscribe_fn_with("slow", options, failing(9, sender)).start().await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    for (attempt, hours) in [(1, 1.0), (2, 2.0), (3, 3.0), (4, 3.0)] {
        assert_eq!(received.next().await, attempt);
        let waiting =
            format!("select count(*) from pubsub.mailbox where token is null and attempt = {attempt}");
        db.until_count(&waiting, 1).await;
        let row = db
            .client
            .query_one(
                "select extract(epoch from due_at - clock_timestamp())::float8, last_error from pubsub.mailbox",
                &[],
            )
            .await
            .unwrap();
        let (due_in, error): (f64, String) = (row.get(0), row.get(1));
        let delay = hours * 3_600.0;
        assert!(
            (delay - 60.0..=delay).contains(&due_in),
            "attempt {attempt} is due in {due_in} s, not {delay} s"
        );
        assert_eq!(error, "the provider is down");
        // Makes every delivery due.
        db.client.execute("update pubsub.mailbox set due_at = clock_timestamp()", &[]).await.unwrap();
    }
}

#[actix::test]
async fn jitter_changes_the_delay_by_at_most_its_share() {
    let db = TestDatabase::new().await;
    let backoff = Backoff::exponential(Duration::from_secs(1_000))
        .factor(1.0)
        .max(Duration::from_secs(1_000))
        .jitter(0.5);
    let pubsub = db
        .pubsub()
        .subscribe_fn_with("jitter", SubscribeOptions::new().backoff(backoff), |_: Delivery<Sms>| async {
            Err("no".into())
        })
        .start()
        .await
        .unwrap();
    for n in 0..40 {
        pubsub::publish(&pubsub, &Sms::new(n.to_string())).await.unwrap();
    }
    db.until_count("select count(*) from pubsub.mailbox where token is null", 40).await;
    let outside = "select count(*) from pubsub.mailbox where due_at - clock_timestamp() not between interval '400 s' and interval '1500 s'";
    assert_eq!(db.count(outside).await, 0);
    let spread = "select extract(epoch from max(due_at) - min(due_at))::bigint from pubsub.mailbox";
    assert!(db.count(spread).await > 100, "forty delays are not the same");
}

#[actix::test]
async fn attempts_are_counted_before_the_handler_starts() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let url: Arc<str> = db.url().into();
    let pubsub = db
        .pubsub()
        .subscribe_fn("counted", move |sms: Delivery<Sms>| {
            let (sender, url) = (sender.clone(), url.clone());
            async move {
                // The state that the database would have if the process died here.
                let client = connect(&url).await;
                let leased = "select count(*) from pubsub.leases where $1 = any (event_ids)";
                let leased: i64 = client.query_one(leased, &[&sms.event_id().0]).await?.get(0);
                let counted = "select attempt from pubsub.mailbox where event_id = $1";
                let counted =
                    client.query_opt(counted, &[&sms.event_id().0]).await?.map(|row| row.get::<_, i32>(0));
                sender.send((sms.attempt(), leased, counted));
                if sms.attempt() < 3 { Err("again".into()) } else { Ok(()) }
            }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    // The first attempt is recorded by the lease alone, later ones by the mailbox.
    assert_eq!(received.take(3).await, [(1, 1, None), (2, 1, Some(2)), (3, 1, Some(3))]);
}

#[actix::test]
async fn an_event_without_attempts_left_is_a_dead_letter() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db.pubsub().subscribe_fn("hopeless", failing(100, sender)).start().await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    db.until_count("select count(*) from pubsub.dead_letters", 1).await;
    db.until_settled().await;
    assert_eq!(received.rest(), [1, 2, 3, 4], "as many attempts as the channel allows");
    let letters = pubsub.subscription::<Sms>("hopeless").dead_letters(None, 10).await.unwrap();
    let [letter] = letters.as_slice() else { panic!("one dead letter: {letters:?}") };
    assert_eq!((letter.reason, letter.attempts), (Reason::Exhausted, 4));
    assert_eq!(letter.error.as_deref(), Some("the provider is down"));
    assert_eq!(letter.payload, r#"{"msg": "hello"}"#);
    assert!(letter.died_at > letter.published_at);
    assert_eq!(
        pubsub.subscription::<Sms>("hopeless").dead_letters(Some(letter.event_id), 10).await.unwrap(),
        []
    );
}

#[actix::test]
async fn a_redrive_runs_a_dead_letter_once_with_new_attempts() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let healthy = Arc::new(AtomicBool::new(false));
    let pubsub = {
        let healthy = healthy.clone();
        db.pubsub()
            .subscribe_fn("mailer", move |email: Delivery<Email>| {
                sender.send((email.event_id(), email.attempt()));
                std::future::ready(if healthy.load(Ordering::SeqCst) { Ok(()) } else { Err("down".into()) })
            })
            .start()
            .await
            .unwrap()
    };
    let mut ids = Vec::new();
    for n in 0..3 {
        let email = Email { receiver: format!("{n}@example.com") };
        ids.push(pubsub::publish(&pubsub, &email).await.unwrap().id());
    }
    db.until_count("select count(*) from pubsub.dead_letters", 3).await;
    received.take(6).await;

    healthy.store(true, Ordering::SeqCst);
    assert!(pubsub.subscription::<Email>("mailer").redrive_one(ids[1]).await.unwrap());
    assert_eq!(received.next().await, (ids[1], 1));
    assert!(
        !pubsub.subscription::<Email>("mailer").redrive_one(ids[1]).await.unwrap(),
        "it is no longer a dead letter"
    );
    assert_eq!(pubsub.subscription::<Email>("mailer").redrive().await.unwrap(), 2);
    assert_eq!(pubsub.subscription::<Email>("mailer").redrive().await.unwrap(), 0);
    let mut rest = received.take(2).await;
    rest.sort_unstable();
    assert_eq!(rest, [(ids[0], 1), (ids[2], 1)]);
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
    let unknown = pubsub.subscription::<Email>("nobody").redrive().await.unwrap_err();
    assert_eq!(unknown.to_string(), r#"channel "email" has no subscription "nobody""#);
    assert_eq!((unknown.code(), unknown.is_retryable()), ("PB004", false));
}

#[actix::test]
async fn a_rejected_event_is_a_dead_letter_at_once() {
    let db = TestDatabase::new().await;
    let pubsub = db
        .pubsub()
        .subscribe_fn("picky", |_: Delivery<Sms>| async { Err(Failure::reject("not one of our numbers")) })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    db.until_count("select count(*) from pubsub.dead_letters", 1).await;
    let row =
        db.client.query_one("select reason, attempt, error from pubsub.dead_letters", &[]).await.unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), ("rejected", 1, "not one of our numbers"));
}

#[actix::test]
async fn a_snooze_counts_no_attempt_and_sets_its_delay() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let calls = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let pubsub = db
        .pubsub()
        .subscribe_fn("sleepy", move |sms: Delivery<Sms>| {
            sender.send(sms.attempt());
            let call = calls.fetch_add(1, Ordering::SeqCst);
            std::future::ready(match call {
                0..=5 => Err(Failure::snooze(Duration::from_millis(1))),
                6 => Err(Failure::retry_after(Duration::from_millis(1), "in a moment")),
                _ => Ok(()),
            })
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.take(8).await, [1, 1, 1, 1, 1, 1, 1, 2]);
    db.until_settled().await;
}

#[actix::test]
async fn a_failure_with_any_error_text_is_recorded() {
    let db = TestDatabase::new().await;
    let pubsub = db
        .pubsub()
        .subscribe_fn("hostile", |sms: Delivery<Sms>| {
            let error = sms.msg.parse::<usize>().map(|size| "\u{1F980}\0\"\\'\n\u{7}".repeat(size));
            async move { Err(Failure::reject(error?)) }
        })
        .start()
        .await
        .unwrap();
    for size in [0, 1, 100, 100_000] {
        pubsub::publish(&pubsub, &Sms::new(size.to_string())).await.unwrap();
    }
    db.until_count("select count(*) from pubsub.dead_letters where reason = 'rejected'", 4).await;
    assert!(db.count("select max(octet_length(error))::bigint from pubsub.dead_letters").await <= 4_096);
}

#[actix::test]
async fn error_texts_of_the_database_leave_out_row_values() {
    let db = TestDatabase::new().await;
    db.client.batch_execute("create table users (email text primary key)").await.unwrap();
    db.client.batch_execute("insert into users values ('canary@example.com')").await.unwrap();
    let url: Arc<str> = db.url().into();
    let pubsub = db
        .pubsub()
        .subscribe_fn("canary", move |_: Delivery<Email>| {
            let url = url.clone();
            async move {
                let client = connect(&url).await;
                client.execute("insert into users values ($1)", &[&"canary@example.com"]).await?;
                Ok(())
            }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Email { receiver: "x".into() }).await.unwrap();
    db.until_count("select count(*) from pubsub.dead_letters", 1).await;
    let error: String =
        db.client.query_one("select error from pubsub.dead_letters", &[]).await.unwrap().get(0);
    assert!(error.contains("users_pkey") && error.contains("23505"), "{error}");
    assert!(!error.contains("canary@"), "{error}");
}

#[actix::test]
async fn a_redrive_puts_each_dead_letter_back_once() {
    const LETTERS: u64 = 2_500;
    let db = TestDatabase::new().await;
    let handler = async |_: Delivery<Sms>| -> Result<(), Failure> { Err(Failure::reject("at once")) };
    let pubsub = db.pubsub().subscribe_fn("one", handler).start().await.unwrap();
    let letters = "insert into pubsub.dead_letters (subscription, event_id, channel, payload, version, published_at, attempt,
                       panics, crashes, reason)
                   select s.id, n, 'sms', '{\"msg\": \"x\"}', 1, now(), 1, 0, 0, 'rejected'
                     from pubsub.subscriptions s, generate_series(1, $1::bigint) n";
    db.client.execute(letters, &[&LETTERS.cast_signed()]).await.unwrap();
    assert_eq!(pubsub.subscription::<Sms>("one").redrive().await.unwrap(), LETTERS);
    db.until_settled().await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, LETTERS.cast_signed());
    let earlier = "select pubsub.redrive('sms', 'one', died_before => now() - interval '1 hour')";
    assert_eq!(db.count(earlier).await, 0);
}
