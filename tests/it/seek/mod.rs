//! A subscription can be moved in the log: back, to replay events, or ahead.

mod under_load;

use jiff::Timestamp;
use pubsub::subscription::Seek;
use pubsub::{Delivery, EventId, PublishOptions, SubscribeOptions};
use pubsub_tests::{
    ClaimedEvent, Sms, SqlSubscriber, TestDatabase, connect, probe, publish_each as publish, sending,
};
use std::future::poll_fn;
use std::time::Duration;
use tokio_postgres::{AsyncMessage, Client};

/// Prepares a subscription `one` that has read and settled ten events, and returns their ids.
async fn ten_events_on(db: &TestDatabase) -> (SqlSubscriber<'_>, Vec<i64>) {
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let ids = publish(&db.client, 10).await;
    assert_eq!(one.drain(4).await.unwrap(), ids);
    (one, ids)
}

async fn seek(client: &Client, call: &str) -> (i64, i64) {
    let row = client.query_one(&format!("select * from pubsub.{call}"), &[]).await.unwrap();
    (row.get(0), row.get(1))
}

#[actix::test]
async fn a_seek_back_replays_events_with_their_headers() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let pubsub = db
        .pubsub()
        .subscribe_fn("one", move |sms: Delivery<Sms>| {
            let key = sms.key().map(str::to_owned);
            sender.send((
                sms.event_id(),
                key,
                sms.headers(),
                sms.published_at(),
                sms.is_replay(),
                sms.attempt(),
            ));
            async { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    let options = PublishOptions::new().key("user-7").header("trace", "00-4bf9");
    for msg in ["first", "second"] {
        pubsub::publish_with(&pubsub, &Sms::new(msg), &options).await.unwrap();
    }
    let first_time = received.take(2).await;
    assert!(first_time.iter().all(|(.., replay, attempt)| !replay && *attempt == 1));
    db.until_settled().await;

    let sought = pubsub.subscription::<Sms>("one").seek(Seek::Beginning).await.unwrap();
    assert_eq!((sought.replayed, sought.skipped), (2, 0));
    let again = received.take(2).await;
    for (old, new) in first_time.iter().zip(&again) {
        assert_eq!(
            (&old.0, &old.1, &old.2, &old.3),
            (&new.0, &new.1, &new.2, &new.3),
            "the event is unchanged"
        );
        assert_eq!(new.2.get("trace").map(String::as_str), Some("00-4bf9"));
        assert!(new.4, "and it is a replay");
        assert_eq!(new.5, 1);
    }
    pubsub::publish(&pubsub, &Sms::new("third")).await.unwrap();
    assert!(!received.next().await.4, "a new event is no replay");
}

#[actix::test]
async fn a_seek_wakes_sleeping_processes() {
    let db = TestDatabase::new().await;
    let (_, _) = ten_events_on(&db).await;
    let (client, mut connection) = tokio_postgres::connect(db.url(), tokio_postgres::NoTls).await.unwrap();
    let (sender, mut received) = probe();
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notification(bell) = message {
                sender.send(bell.payload().to_owned());
            }
        }
    });
    client.batch_execute("listen pubsub").await.unwrap();
    seek(&db.client, "seek('sms', 'one', 'beginning', dry_run => true)").await;
    db.client.batch_execute("notify pubsub, 'the dry run rang no process'").await.unwrap();
    assert_eq!(received.next().await, "the dry run rang no process");
    seek(&db.client, "seek('sms', 'one', 'beginning')").await;
    assert_eq!(received.next().await, "sms");
}

#[actix::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let db = TestDatabase::new().await;
    let (one, ids) = ten_events_on(&db).await;
    let pubsub = db.pubsub().start().await.unwrap();
    let unread = publish(&db.client, 5).await;
    let time = "select to_char(published_at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') from pubsub.db_events where id = $1";
    let time: String = db.client.query_one(time, &[&ids[7]]).await.unwrap().get(0);
    let seeks = [
        (Seek::Beginning, (10, 0)),
        (Seek::Event(EventId(ids[4])), (6, 0)),
        (Seek::Time(time.parse().unwrap()), (3, 0)),
        (Seek::Time(Timestamp::MIN), (10, 0)),
        (Seek::Time(Timestamp::MAX), (0, 5)),
        (Seek::Event(EventId(unread[2])), (0, 2)),
        (Seek::Event(EventId(i64::MAX)), (0, 5)),
        (Seek::Now, (0, 5)),
    ];
    let before = db.count("select count(*) from pubsub.cursors").await;
    for (to, expected) in seeks {
        let counted = pubsub.subscription::<Sms>("one").seek_dry_run(to).await.unwrap();
        assert_eq!((counted.replayed, counted.skipped), expected, "{to:?}");
    }
    assert_eq!(db.count("select count(*) from pubsub.cursors").await, before);
    assert_eq!(one.drain(100).await.unwrap(), unread, "the dry run changed nothing");
}

#[actix::test]
async fn a_seek_delivers_as_many_events_as_it_counted() {
    let db = TestDatabase::new().await;
    let (one, ids) = ten_events_on(&db).await;
    let mut unread = publish(&db.client, 5).await;

    assert_eq!(seek(&db.client, &format!("seek('sms', 'one', event => {})", ids[4])).await, (6, 0));
    assert_eq!(one.drain(4).await.unwrap(), [&ids[4..], &unread].concat());

    unread = publish(&db.client, 5).await;
    // In the middle of a window: two events are read, three are not.
    assert_eq!(one.claim(2).await.unwrap().len(), 2);
    let now = "seek('sms', 'one', 'now')";
    assert_eq!(seek(&db.client, now).await, (0, 3));
    assert!(one.drain(4).await.unwrap().is_empty());

    let later = publish(&db.client, 2).await;
    let back = format!("seek('sms', 'one', event => {})", unread[3]);
    assert_eq!(seek(&db.client, &back).await, (2, 0));
    assert_eq!(one.drain(4).await.unwrap(), [&unread[3..], &later].concat());

    assert_eq!(seek(&db.client, "seek('sms', 'one', 'beginning')").await, (22, 0));
    let head = one.claim(3).await.unwrap();
    assert_eq!(head.iter().map(|event| event.id).collect::<Vec<_>>(), ids[..3]);
    // Ahead again, out of the window of the last seek.
    assert_eq!(seek(&db.client, &format!("seek('sms', 'one', event => {})", later[0])).await, (0, 17));
    assert_eq!(one.drain(4).await.unwrap(), later);
}

#[actix::test]
async fn a_seek_to_a_time_misses_no_event_of_that_time() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    // The clock is read after the id is drawn, so a publisher that was delayed in between has a late time under an early
    // id.
    let seconds = [-300, -90, 7, -10, 1, -2, 0, 3];
    for second in seconds {
        let insert = format!(
            "insert into pubsub.db_events (channel, payload, published_at) \
             values ('sms', '{{}}', '2026-01-01 12:00Z'::timestamptz + interval '{second} s')"
        );
        db.client.batch_execute(&insert).await.unwrap();
    }
    let all = one.drain(100).await.unwrap();
    assert_eq!(all.len(), seconds.len());
    let noon = "seek('sms', 'one', since => '2026-01-01 12:00Z')";
    assert_eq!(seek(&db.client, noon).await, (6, 0));
    assert_eq!(one.drain(100).await.unwrap(), all[2..], "from the first event of that time on");
    let future = "seek('sms', 'one', since => '2030-01-01')";
    assert_eq!(seek(&db.client, future).await, (0, 0));
    let next = publish(&db.client, 1).await;
    assert_eq!(one.drain(100).await.unwrap(), next, "later events are delivered, whatever their time");
}

#[actix::test]
async fn an_event_in_flight_during_a_seek_is_delivered_once() {
    let mut db = TestDatabase::new().await;
    let url = db.url().to_owned();
    let other = connect(&url).await;
    let one = SqlSubscriber::register(&other, "one").await.unwrap();
    for (to, claims_between) in
        [("now", false), ("now", true), ("beginning", false), ("beginning", true), ("event", false)]
    {
        let in_flight = db.client.transaction().await.unwrap();
        let early = pubsub::publish(&in_flight, &Sms::new("early")).await.unwrap().id().0;
        let read = publish(&other, 3).await;
        one.drain(100).await.unwrap();
        let call = match to {
            "event" => format!("seek('sms', 'one', event => {})", read[1]),
            to => format!("seek('sms', 'one', '{to}')"),
        };
        seek(&other, &call).await;
        let mut received = Vec::new();
        if claims_between {
            received = one.claim(100).await.unwrap();
            assert!(received.iter().all(|event| event.id != early));
        }
        in_flight.commit().await.unwrap();
        received.extend(one.claim(100).await.unwrap());
        received.extend(one.claim(100).await.unwrap());
        let early: Vec<&ClaimedEvent> = received.iter().filter(|event| event.id == early).collect();
        assert_eq!(early.len(), 1, "{to}, {claims_between}: {received:?}");
        assert!(!early[0].replay, "{to}, {claims_between}: it was not read before");
        assert!(received.iter().all(|event| event.replay == read.contains(&event.id) || to == "beginning"));
    }
}

#[actix::test]
async fn a_retried_replay_is_still_marked_as_a_replay() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let ids = publish(&db.client, 3).await;
    let claimed = one.claim(10).await.unwrap();
    assert!(one.fail(claimed[0].token, ids[0]).await.unwrap());
    seek(&db.client, &format!("seek('sms', 'one', event => {})", ids[1])).await;

    let retry = one.claim_mailbox(10).await.unwrap();
    assert_eq!((retry[0].id, retry[0].replay), (ids[0], false), "it stayed in the mailbox");
    let again = one.claim(10).await.unwrap();
    assert_eq!(
        again.iter().map(|event| (event.id, event.replay)).collect::<Vec<_>>(),
        [(ids[1], true), (ids[2], true)]
    );
    assert!(one.fail(again[0].token, ids[1]).await.unwrap());
    let retry = one.claim_mailbox(10).await.unwrap();
    assert_eq!((retry[0].id, retry[0].replay), (ids[1], true));
    let reject = format!(
        r#"select pubsub.settle({}, {}, null, '[{{"id": {}, "action": "reject"}}]')"#,
        one.process, retry[0].token, ids[1]
    );
    db.client.batch_execute(&reject).await.unwrap();
    db.client.batch_execute("select pubsub.redrive('sms', 'one')").await.unwrap();
    assert!(one.claim_mailbox(10).await.unwrap()[0].replay, "also when it is redriven");
}

#[actix::test]
async fn a_lease_from_before_a_seek_can_still_be_settled() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let ids = publish(&db.client, 3).await;
    let before = one.claim(10).await.unwrap();
    seek(&db.client, "seek('sms', 'one', 'beginning')").await;
    let after = one.claim(10).await.unwrap();
    assert_eq!(after.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
    assert!(after[0].token > before[0].token);
    // Both fail on the same event: it is in the mailbox once, with everything about it.
    assert!(one.fail(before[0].token, ids[1]).await.unwrap());
    assert!(one.fail(after[0].token, ids[1]).await.unwrap());
    let retry = one.claim_mailbox(10).await.unwrap();
    assert_eq!(retry.iter().map(|event| event.id).collect::<Vec<_>>(), ids[1..2]);
    assert!(one.settle(retry[0].token).await.unwrap());
    db.until_settled().await;
}

#[actix::test]
async fn two_seeks_back_still_tell_replays_from_new_events() {
    let db = TestDatabase::new().await;
    let (one, ids) = ten_events_on(&db).await;
    seek(&db.client, "seek('sms', 'one', 'beginning')").await;
    assert_eq!(one.claim(2).await.unwrap().len(), 2);
    seek(&db.client, "seek('sms', 'one', 'beginning')").await;
    let again = one.claim(100).await.unwrap();
    assert_eq!(again.iter().map(|event| event.id).collect::<Vec<_>>(), ids);
    assert!(again.iter().all(|event| event.replay));
}

#[actix::test]
async fn a_new_subscription_starts_at_the_oldest_or_the_next_event() {
    let db = TestDatabase::new().await;
    let (pubsub, _) = db.receive("other").await;
    pubsub::publish(&pubsub, &Sms::new("old")).await.unwrap();
    let (sender, mut received) = probe();
    let listen = |name: &'static str| {
        sending(sender.clone(), move |sms: Delivery<Sms>| (name, sms.is_replay(), sms.msg.clone()))
    };
    let start = async |options| {
        db.pubsub()
            .subscribe_fn_with("beginning", options, listen("beginning"))
            .subscribe_fn("now", listen("now"))
            .start()
            .await
            .unwrap()
    };
    let both = start(SubscribeOptions::new().from_beginning()).await;
    assert_eq!(received.next().await, ("beginning", false, "old".to_owned()), "an unread event is no replay");
    pubsub::publish(&pubsub, &Sms::new("new")).await.unwrap();
    let mut two = received.take(2).await;
    two.sort_unstable();
    assert_eq!(two, [("beginning", false, "new".to_owned()), ("now", false, "new".to_owned())]);
    assert!(both.drain(Duration::from_secs(10)).await);

    let _again = start(SubscribeOptions::new().from_beginning()).await;
    pubsub::publish(&pubsub, &Sms::new("newer")).await.unwrap();
    let mut two = received.take(2).await;
    two.sort_unstable();
    assert_eq!(two, [("beginning", false, "newer".to_owned()), ("now", false, "newer".to_owned())]);
    assert!(received.rest().is_empty(), "one that exists goes on where it was");
}

#[actix::test]
async fn an_impossible_seek_is_refused() {
    let db = TestDatabase::new().await;
    let (_, ids) = ten_events_on(&db).await;
    let pubsub = db.pubsub().start().await.unwrap();
    let unknown = pubsub.subscription::<Sms>("two").seek(Seek::Now).await.unwrap_err();
    assert!(format!("{unknown:?}").contains("channel \"sms\" has no subscription \"two\""), "{unknown:?}");
    for (sql, code) in [
        ("select pubsub.seek('sms', 'one', event => null)", "22023"),
        ("select pubsub.seek('sms', 'one', since => null)", "22023"),
        ("select pubsub.seek('sms', 'one')", "22023"),
        ("select pubsub.seek('sms', 'one', 'end')", "22023"),
        ("select pubsub.seek('sms', 'one', 'now', event => 1)", "22023"),
        ("begin; select pubsub.publish('sms', '{}'); select pubsub.seek('sms', 'one', 'now')", "PB003"),
        ("rollback; begin isolation level repeatable read; select pubsub.seek('sms', 'one', 'now')", "PB003"),
    ] {
        let refused = db.client.batch_execute(sql).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), code, "{sql}");
    }
    db.client.batch_execute("rollback").await.unwrap();
    let below = format!("seek('sms', 'one', event => {})", ids[0] - 1_000_000);
    assert_eq!(seek(&db.client, &below).await, (10, 0), "below the beginning is the beginning");
}

#[actix::test]
async fn a_dead_letter_that_failed_again_in_a_replay_can_be_redriven() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let ids = publish(&db.client, 2).await;
    let reject = async |lease: &ClaimedEvent| {
        let rejected = format!(r#"[{{"id": {}, "action": "reject"}}]"#, lease.id);
        let sql = "select pubsub.settle($1, $2, null, $3::text::jsonb)";
        db.client.execute(sql, &[&one.process, &lease.token, &rejected]).await.unwrap();
    };
    reject(&one.claim(1).await.unwrap()[0]).await;
    reject(&one.claim(1).await.unwrap()[0]).await;
    seek(&db.client, "seek('sms', 'one', 'beginning')").await;
    let again = one.claim(1).await.unwrap();
    assert!(one.fail(again[0].token, ids[0]).await.unwrap());

    assert_eq!(db.count("select pubsub.redrive('sms', 'one')").await, 2);
    let redriven = one.claim_mailbox(10).await.unwrap();
    assert_eq!(redriven.iter().map(|event| event.id).collect::<Vec<_>>(), ids, "each event once, for both");
    assert_eq!(db.count("select count(*) from pubsub.mailbox where attempt = 1").await, 2, "from the start");
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
}
