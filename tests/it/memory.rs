//! Events, claims, and what a process holds are bounded by the bytes that are read.

use pubsub::{Delivery, Error, PublishOptions, SubscribeOptions, publish_with};
use pubsub_tests::{Sms, SqlSubscriber, TestDatabase, probe, until};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The bytes of one claim by SQL that says nothing about them, and the largest event.
const CLAIM: i64 = 4 * 1024 * 1024;
const LARGEST: i64 = 256 * 1024;

/// The bytes that one subscription holds at most.
const HELD: i64 = 8 * 1024 * 1024;

/// Publishes large events of the channel `sms`, of which half can be compressed, with seven keys.
async fn publish_large(db: &TestDatabase, count: i32) {
    let sql = "insert into pubsub.db_events (channel, key, payload)
               select 'sms', 'key ' || n % 7, jsonb_build_object('msg', case n % 2
                          when 0 then repeat('x', 250000)
                          else (select string_agg(md5(i::text || n), '') from generate_series(1, 7800) i)
                      end)
                 from generate_series(1, $1::integer) n";
    db.client.execute(sql, &[&count]).await.unwrap();
}

#[actix::test]
async fn the_limit_counts_headers_and_the_text_that_is_read() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    // A number of many digits is stored in a few bytes.
    let digits = |numbers: i32| {
        format!(
            "insert into pubsub.db_events (channel, payload)
             select 'sms', jsonb_agg('1e131071'::numeric) from generate_series(1, {numbers})"
        )
    };
    let headers = |bytes: i32, events: i32| {
        format!(
            "insert into pubsub.db_events (channel, payload, headers)
             select 'sms', '1', jsonb_build_object('h', repeat('x', {bytes})) from generate_series(1, {events})"
        )
    };
    for legal in [digits(1), headers(262_134, 1), headers(262_134, 2)] {
        db.client.batch_execute(&legal).await.unwrap();
    }
    for (sql, said) in [
        (digits(2), "a payload of 262148 bytes is over"),
        (headers(262_135, 1), "a payload of 1 bytes with headers of 262144 bytes is over"),
        (headers(262_135, 2), "a payload of 1 bytes with headers of 262144 bytes is over"),
        (headers(50_000_000, 1), "a payload of 1 bytes with headers of 50000009 bytes is over"),
    ] {
        let refused = db.client.batch_execute(&sql).await.unwrap_err();
        let refused = refused.as_db_error().unwrap();
        assert_eq!(refused.code().code(), "PB002");
        assert!(refused.message().starts_with(said), "{refused:?}");
    }
    let large = PublishOptions::new().header("h", "x".repeat(300_000));
    let refused = publish_with(&pubsub, &Sms::new("x"), &large).await.unwrap_err();
    assert!(matches!(refused, Error::PayloadTooLarge { .. }), "{refused:?}");
}

#[actix::test]
async fn a_claim_ends_once_it_has_its_bytes() {
    let db = TestDatabase::new().await;
    let process = SqlSubscriber::register(&db.client, "one").await.unwrap().process;
    db.client.batch_execute("select pubsub.subscribe('sms', 'ordered', lanes => 5)").await.unwrap();
    publish_large(&db, 60).await;
    for subscription in [1, 2] {
        let (mut events, mut rounds) = (0, 0);
        while events < 60 {
            let claim = "select count(*), coalesce(sum(octet_length(payload::text)), 0)::bigint, array_agg(distinct token)
                           from pubsub.claim($1, $2, 500)";
            let claimed = db.client.query_one(claim, &[&subscription, &process]).await.unwrap();
            let (count, bytes): (i64, i64) = (claimed.get(0), claimed.get(1));
            assert!(count > 0 && bytes < CLAIM + LARGEST, "{count} events of {bytes} bytes");
            let settle = "select pubsub.settle($1, t) from unnest($2::bigint[]) t";
            db.client.query(settle, &[&process, &claimed.get::<_, Vec<i64>>(2)]).await.unwrap();
            (events, rounds) = (events + count, rounds + 1);
        }
        assert_eq!((events, rounds), (60, 4), "each claim is as large as it may be");
    }
    let count = "select count(*) from pubsub.claim(1, $1, 500, bytes => 1)";
    publish_large(&db, 3).await;
    let alone: i64 = db.client.query_one(count, &[&process]).await.unwrap().get(0);
    assert_eq!(alone, 1, "one event always comes");
}

#[actix::test]
async fn a_claim_from_the_mailbox_ends_once_it_has_its_bytes() {
    let db = TestDatabase::new().await;
    let process = SqlSubscriber::register(&db.client, "one").await.unwrap().process;
    db.client.batch_execute("select pubsub.subscribe('sms', 'ordered', lanes => 5)").await.unwrap();
    publish_large(&db, 60).await;
    for subscription in [1, 2] {
        let fail = "select pubsub.settle($2, c.token, '{}', jsonb_agg(jsonb_build_object('id', c.id, 'action', 'retry')))
                      from pubsub.claim($1, $2, 500, bytes => 100000000) c group by c.token";
        db.client.query(fail, &[&subscription, &process]).await.unwrap();
        let mut ids = Vec::new();
        while ids.len() < 60 {
            let claim = "select coalesce(sum(octet_length(payload::text)), 0)::bigint, array_agg(id), array_agg(distinct token)
                           from pubsub.claim_mailbox($1, $2, 500)";
            let claimed = db.client.query_one(claim, &[&subscription, &process]).await.unwrap();
            let (bytes, claimed_ids): (i64, Option<Vec<i64>>) = (claimed.get(0), claimed.get(1));
            assert!(bytes > 0 && bytes < CLAIM + LARGEST, "{bytes} bytes");
            ids.extend(claimed_ids.unwrap());
            let settle = "select pubsub.settle($1, t) from unnest($2::bigint[]) t";
            db.client.query(settle, &[&process, &claimed.get::<_, Vec<i64>>(2)]).await.unwrap();
        }
        if subscription == 1 {
            assert!(ids.is_sorted(), "in the order in which they fell due: {ids:?}");
        }
    }
}

#[actix::test]
async fn a_subscription_holds_few_of_the_largest_events() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let gate = Arc::new(Semaphore::new(0));
    let passed = Arc::clone(&gate);
    let handler = move |sms: Delivery<Sms>| {
        let (sender, gate) = (sender.clone(), Arc::clone(&passed));
        async move {
            sender.send(sms.msg.len());
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    let options = SubscribeOptions::new().concurrency(200);
    let _pubsub = db.pubsub().subscribe_fn_with("one", options, handler).start().await.unwrap();
    publish_large(&db, 120).await;
    // The bytes that are held, while one delivery after another ends.
    let held = format!(
        "select coalesce(sum(octet_length(e.payload::text)), 0) < {HELD} + {LARGEST}
           from pubsub.leases l
          cross join unnest(l.event_ids) i (id)
           join pubsub.db_events e on e.channel = 'sms' and e.id = i.id"
    );
    for _ in 0..120 {
        received.next().await;
        // Answers that are not settled yet are leased, and not held any more.
        until(&db.client, &held).await;
        gate.add_permits(1);
    }
    db.until_settled().await;
}

#[actix::test]
async fn an_event_that_cannot_be_read_is_a_dead_letter_alone() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = db.receive("one").await;
    let sql = r#"insert into pubsub.db_events (channel, payload, published_at)
                 select 'sms', format('{"msg": "%s"}', n)::jsonb, t::timestamptz
                   from unnest(array['now', 'infinity', '-infinity', '20000-01-01', 'now']) with ordinality u (t, n)"#;
    db.client.batch_execute(sql).await.unwrap();
    assert_eq!(received.take_sorted(2).await, ["1", "5"]);
    db.client
        .batch_execute("select pubsub.subscribe('sms', 'unread', from_beginning => true)")
        .await
        .unwrap();
    assert_eq!(
        db.count("select count(*) from pubsub.unread_subscriptions('0')").await,
        1,
        "it asks them all"
    );
    db.until_count("select count(*) from pubsub.dead_letters where reason = 'undecodable'", 3).await;
    db.until_settled().await;
    let letters = pubsub.subscription::<Sms>("one").dead_letters(None, 10).await.unwrap();
    assert_eq!(letters.len(), 3);
    assert!(letters[0].error.as_deref().unwrap().starts_with("its row cannot be read"), "{letters:?}");
    assert_eq!(letters[0].published_at, jiff::Timestamp::MAX, "the nearest time that can be written");
    assert_eq!(letters[1].published_at, jiff::Timestamp::MIN);

    // The same in the mailbox.
    db.client.batch_execute("select pubsub.redrive('sms', 'one')").await.unwrap();
    db.client.batch_execute(r#"select pubsub.publish('sms', '{"msg": "6"}')"#).await.unwrap();
    assert_eq!(received.next().await, "6");
    db.until_count("select count(*) from pubsub.dead_letters where reason = 'undecodable'", 3).await;
}
