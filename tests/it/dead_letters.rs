//! Dead letters are selected by reason and age, purged, and deleted by age. A subscription sets how many deaths a delivery survives.

use jiff::Timestamp;
use pubsub::subscription::{DeadLetterFilter, Reason};
use pubsub::{EventId, SubscribeOptions, Subscription, publish_all};
use pubsub_tests::{DEADLINE, Sms, SqlSubscriber, TestDatabase};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Gives the subscription "one" four dead letters: rejected and undecodable now, rejected and undecodable two days ago. Returns
/// their events.
async fn with_dead_letters(db: &TestDatabase) -> [i64; 4] {
    let handler = SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish_all(&db.client, &["a", "b", "c", "d"].map(Sms::new)).await.unwrap();
    let claimed = handler.claim(4).await.unwrap();
    let events: Vec<i64> = claimed.iter().map(|event| event.id).collect();
    let action = |(at, id): (usize, &i64)| {
        format!(r#"{{"id": {id}, "action": "{}"}}"#, ["reject", "undecodable"][at % 2])
    };
    let actions: Vec<String> = events.iter().enumerate().map(action).collect();
    let given_up = format!("[{}]", actions.join(","));
    let settle = "select pubsub.settle($1, $2, null, $3::text::jsonb)";
    db.client.execute(settle, &[&handler.process, &claimed[0].token, &given_up]).await.unwrap();
    let age =
        "update pubsub.dead_letters set died_at = died_at - interval '2 days' where event_id = any ($1)";
    db.client.execute(age, &[&&events[2..]]).await.unwrap();
    events.try_into().unwrap()
}

async fn ids(one: &Subscription<Sms>, filter: DeadLetterFilter) -> Vec<i64> {
    let letters = one.dead_letters_with(&filter, None, 10).await.unwrap();
    letters.iter().map(|letter| letter.event_id.0).collect()
}

fn yesterday() -> Timestamp {
    Timestamp::now() - DAY
}

#[tokio::test]
async fn dead_letters_are_listed_by_reason_and_age() {
    let db = TestDatabase::new().await;
    let [new_rejected, new_undecodable, old_rejected, old_undecodable] = with_dead_letters(&db).await;
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    let all = DeadLetterFilter::new();
    assert_eq!(ids(&one, all).await, [new_rejected, new_undecodable, old_rejected, old_undecodable]);
    assert_eq!(ids(&one, all.reason(Reason::Rejected)).await, [new_rejected, old_rejected]);
    assert_eq!(ids(&one, all.died_before(yesterday())).await, [old_rejected, old_undecodable]);
    let both = all.reason(Reason::Undecodable).died_before(yesterday());
    assert_eq!(ids(&one, both).await, [old_undecodable]);
    assert_eq!(ids(&one, all.reason(Reason::Other)).await, [0; 0]);
    // Earlier than any time of PostgreSQL.
    assert_eq!(ids(&one, all.died_before(Timestamp::MIN)).await, [0; 0]);
    assert_eq!(ids(&one, all.died_before(Timestamp::MAX)).await.len(), 4);
    let second = one.dead_letters_with(&all.reason(Reason::Rejected), Some(EventId(new_rejected)), 1).await;
    assert_eq!(second.unwrap()[0].event_id.0, old_rejected, "the next page");
}

#[tokio::test]
async fn dead_letters_are_redriven_by_reason_and_age() {
    let db = TestDatabase::new().await;
    let [new_rejected, new_undecodable, old_rejected, old_undecodable] = with_dead_letters(&db).await;
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    let all = DeadLetterFilter::new();
    assert_eq!(one.redrive_with(&all.reason(Reason::Rejected).died_before(yesterday())).await.unwrap(), 1);
    assert_eq!(ids(&one, all).await, [new_rejected, new_undecodable, old_undecodable]);
    assert_eq!(db.count("select event_id from pubsub.mailbox").await, old_rejected);
    let future = Timestamp::now() + DAY;
    assert_eq!(one.redrive_with(&all.died_before(future)).await.unwrap(), 3, "no longer than until now");
}

#[tokio::test]
async fn dead_letters_of_a_clock_that_was_ahead_are_redriven() {
    let db = TestDatabase::new().await;
    let [new_rejected, new_undecodable, old_rejected, old_undecodable] = with_dead_letters(&db).await;
    let ahead =
        "update pubsub.dead_letters set died_at = died_at + interval '1 day' where event_id = any ($1)";
    db.client.execute(ahead, &[&[new_rejected, new_undecodable].as_slice()]).await.unwrap();
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    let all = DeadLetterFilter::new();
    assert_eq!(one.redrive_with(&all.died_before(Timestamp::now())).await.unwrap(), 2);
    assert!(one.redrive_one(EventId(new_undecodable)).await.unwrap());
    assert_eq!(one.redrive().await.unwrap(), 1);
    assert_eq!(
        db.count("select count(*) from pubsub.mailbox").await,
        4,
        "{old_rejected}, {old_undecodable} too"
    );
}

#[tokio::test]
async fn dead_letters_are_purged() {
    let db = TestDatabase::new().await;
    let [new_rejected, new_undecodable, old_rejected, old_undecodable] = with_dead_letters(&db).await;
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    let all = DeadLetterFilter::new();
    assert_eq!(
        one.purge_dead_letters(&all.reason(Reason::Rejected).died_before(yesterday())).await.unwrap(),
        1
    );
    assert_eq!(ids(&one, all).await, [new_rejected, new_undecodable, old_undecodable]);
    assert!(one.purge_dead_letter(EventId(new_rejected)).await.unwrap());
    assert!(!one.purge_dead_letter(EventId(new_rejected)).await.unwrap(), "it is gone");
    assert!(!one.purge_dead_letter(EventId(old_rejected)).await.unwrap(), "it is gone");
    assert_eq!(one.purge_dead_letters(&all).await.unwrap(), 2);
    assert_eq!(one.redrive().await.unwrap(), 0);
    assert_eq!(db.count("select count(*) from pubsub.mailbox").await, 0);
    let nobody = Subscription::<Sms>::connect(db.url(), "nobody").await.unwrap();
    assert_eq!(nobody.purge_dead_letters(&all).await.unwrap_err().code(), "PB004");
    assert_eq!(nobody.dead_letters(None, 10).await.unwrap_err().code(), "PB004");
}

#[tokio::test]
async fn a_batch_of_dead_letters_has_a_size() {
    let db = TestDatabase::new().await;
    with_dead_letters(&db).await;
    for function in ["redrive", "purge_dead_letters"] {
        for batch in ["0", "null"] {
            let call = format!("select pubsub.{function}('sms', 'one', batch => {batch})");
            let refused = db.client.batch_execute(&call).await.unwrap_err();
            let refused = refused.as_db_error().unwrap().message();
            assert!(
                refused.ends_with(&format!("asks for at least 1 dead letter, not for {batch}")),
                "{refused}"
            );
        }
    }
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 4);
}

#[tokio::test]
async fn many_dead_letters_are_purged_in_batches() {
    let db = TestDatabase::new().await;
    with_dead_letters(&db).await;
    let copies = "insert into pubsub.dead_letters
                  select d.subscription, d.event_id + n * 10, d.channel, d.key, d.payload, d.headers, d.version, d.published_at,
                         d.attempt, d.panics, d.crashes, d.reason, d.error, d.died_at, d.replay, d.orphaned_by
                    from pubsub.dead_letters d, generate_series(1, 600) n";
    db.client.batch_execute(copies).await.unwrap();
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    assert_eq!(one.purge_dead_letters(&DeadLetterFilter::new()).await.unwrap(), 4 + 4 * 600);
}

#[actix::test]
async fn dead_letters_are_deleted_by_age_if_asked() {
    let db = TestDatabase::new().await;
    let [new_rejected, new_undecodable, ..] = with_dead_letters(&db).await;
    let all = "select count(*) from pubsub.dead_letters";
    let accept = |_: pubsub::Delivery<Sms>| async { Ok(()) };
    let keeps = db.pubsub().subscribe_fn("one", accept).start().await.unwrap();
    let options = SubscribeOptions::new().dead_letter_retention(DAY);
    let trims = db.pubsub().subscribe_fn_with("one", options, accept).start().await.unwrap();
    db.until_count(all, 2).await;
    let one = keeps.subscription::<Sms>("one");
    assert_eq!(ids(&one, DeadLetterFilter::new()).await, [new_rejected, new_undecodable]);
    assert!(trims.drain(DEADLINE).await);
}

#[actix::test]
async fn a_subscription_limits_the_deaths_of_a_delivery() {
    let db = TestDatabase::new().await;
    let accept = |_: pubsub::Delivery<Sms>| async { Ok(()) };
    for limit in [1, 4] {
        let options = SubscribeOptions::new().max_crashes(limit);
        let pubsub = db.pubsub().subscribe_fn_with("one", options, accept).start().await.unwrap();
        assert!(pubsub.drain(DEADLINE).await);
        pubsub::publish(&db.client, &Sms::new("deadly")).await.unwrap();
        let subscription = "(select id from pubsub.subscriptions)";
        let mut claim = format!("select count(*) from pubsub.claim({subscription}, $process, 1)");
        for death in 1..=limit {
            let process = db.count("select pubsub.register_process('host', 1, 'test')").await;
            assert_eq!(
                db.count(&claim.replace("$process", &process.to_string())).await,
                1,
                "{death} of {limit}"
            );
            db.count(&format!("select pubsub.end_process({process}, 'crash', 'it died')")).await;
            claim = format!(
                "select count(*) from pubsub.claim_mailbox({subscription}, $process, 1, suspect => true)"
            );
        }
        let crashed = format!(
            "select count(*) from pubsub.dead_letters where reason = 'crashed' and crashes = {limit}"
        );
        assert_eq!(db.count(&crashed).await, 1);
    }
}
