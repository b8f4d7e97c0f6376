//! The mailbox of an ordered subscription: the events of a key are handed out from the first on, in whatever order they get there.

use super::ordered;
use pubsub::{Delivery, Failure};
use pubsub_tests::{Sms, SqlSubscriber, TestDatabase, connect, probe};
use std::time::Duration;
use tokio_postgres::error::SqlState;

/// The ids of the mailbox, in order, each with whether it is parked.
async fn parked(db: &TestDatabase) -> Vec<(i64, bool)> {
    let sql = "select event_id, due_at = 'infinity' from pubsub.mailbox order by event_id";
    let rows = db.client.query(sql, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Subscribes with lanes, and publishes so many events of one key.
async fn subscribed(db: &TestDatabase, events: usize) -> SqlSubscriber<'_> {
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one', lanes => 2)"] {
        db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    publish(db, events).await;
    SqlSubscriber::register(&db.client, "one").await.unwrap()
}

async fn publish(db: &TestDatabase, events: usize) {
    let sql = format!("select pubsub.publish('sms', '{{}}', 'key') from generate_series(1, {events})");
    db.client.batch_execute(&sql).await.unwrap();
}

/// Puts the events of a lease back into the mailbox, as not started.
async fn give_back(one: &SqlSubscriber<'_>, db: &TestDatabase, token: i64) {
    let sql = "select pubsub.settle(l.process, l.token, null, (
                   select jsonb_agg(jsonb_build_object('id', id, 'action', 'return')) from unnest(l.event_ids) id
               )) from pubsub.leases l where (l.process, l.token) = ($1, $2)";
    let settled: bool = db.client.query_one(sql, &[&one.process, &token]).await.unwrap().get(0);
    assert!(settled);
}

/// Handles what the mailbox hands out, one claim at a time, and returns the events in order.
async fn handle_all(one: &SqlSubscriber<'_>) -> Vec<i64> {
    let mut handled = Vec::new();
    loop {
        let claimed = one.claim_mailbox(10).await.unwrap();
        let Some(first) = claimed.first() else { return handled };
        handled.extend(claimed.iter().map(|event| event.id));
        assert!(one.settle(first.token).await.unwrap());
    }
}

/// Parks events of one key behind the first, which fails, and returns all of them.
async fn park_behind_a_failed_one(one: &SqlSubscriber<'_>) -> Vec<i64> {
    let failing = one.claim(1).await.unwrap()[0];
    one.fail(failing.token, failing.id).await.unwrap();
    assert_eq!(one.claim(100).await.unwrap(), []);
    let sql = "select array_agg(event_id order by event_id) from pubsub.mailbox";
    one.client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Claims from the mailbox and returns the events.
async fn claimed(one: &SqlSubscriber<'_>, batch: i32) -> Vec<i64> {
    one.claim_mailbox(batch).await.unwrap().iter().map(|event| event.id).collect()
}

#[actix::test]
async fn what_is_parked_behind_an_event_is_claimed_with_it() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 9).await;
    let ids = park_behind_a_failed_one(&one).await;
    let alone = one.claim_mailbox(10).await.unwrap();
    assert_eq!(alone.len(), 1, "it has failed, and may fail again");
    one.settle(alone[0].token).await.unwrap();
    let four = one.claim_mailbox(4).await.unwrap();
    assert_eq!(four.iter().map(|event| event.id).collect::<Vec<_>>(), ids[1..5]);
    assert_eq!(claimed(&one, 10).await, [] as [i64; 0], "the rest waits for them");
    let third_fails = format!(
        r#"select pubsub.settle({}, {}, null, '[{{"id": {}, "action": "retry"}}, {{"id": {}, "action": "return"}}]')"#,
        one.process, four[0].token, ids[3], ids[4]
    );
    db.client.batch_execute(&third_fails).await.unwrap();
    assert_eq!(claimed(&one, 1).await, ids[3..4], "those behind it were parked again");
    db.client.batch_execute("select pubsub.settle(process, token) from pubsub.leases").await.unwrap();
    assert_eq!(handle_all(&one).await, ids[4..]);
}

#[actix::test]
async fn what_waits_is_not_overtaken_by_what_is_parked_behind_it() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 9).await;
    let ids = park_behind_a_failed_one(&one).await;
    let first = one.claim_mailbox(1).await.unwrap()[0].token;
    one.settle(first).await.unwrap();
    // As a retry whose time was set before the events in front of it came.
    let waits =
        format!("update pubsub.mailbox set due_at = now() + interval '1 hour' where event_id = {}", ids[5]);
    db.client.batch_execute(&waits).await.unwrap();
    // Somebody locks an event between.
    let looking = connect(db.url()).await;
    let look = format!("begin; select from pubsub.mailbox where event_id = {} for update", ids[3]);
    looking.batch_execute(&look).await.unwrap();
    assert_eq!(claimed(&one, 10).await, ids[1..3]);
    looking.batch_execute("commit").await.unwrap();
    db.client.batch_execute("select pubsub.settle(process, token) from pubsub.leases").await.unwrap();
    assert_eq!(claimed(&one, 10).await, ids[3..5]);
}

#[actix::test]
async fn what_is_parked_is_claimed_within_bytes_and_version() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 9).await;
    let ids = park_behind_a_failed_one(&one).await;
    let newer = format!("update pubsub.mailbox set version = 2 where event_id >= {}", ids[6]);
    db.client.batch_execute(&newer).await.unwrap();
    let first = one.claim_mailbox(1).await.unwrap()[0].token;
    one.settle(first).await.unwrap();
    let claim = async |arguments: &str| -> Vec<i64> {
        let sql = format!(
            "select coalesce(array_agg(id), '{{}}') from pubsub.claim_mailbox({}, {}, 10, {arguments})",
            one.subscription, one.process
        );
        let ids = db.client.query_one(&sql, &[]).await.unwrap().get(0);
        db.client.batch_execute("select pubsub.settle(process, token) from pubsub.leases").await.unwrap();
        ids
    };
    let bytes = "select pubsub.bytes_of(payload, headers) * 2 + 1 from pubsub.mailbox limit 1";
    let room_for_three = format!("knows => 1, bytes => {}", db.count(bytes).await);
    assert_eq!(claim(&room_for_three).await, ids[1..4]);
    assert_eq!(claim("knows => 1").await, ids[4..6]);
    assert_eq!(claim("knows => 1").await, [] as [i64; 0]);
    assert_eq!(claim("knows => 2").await, ids[6..]);
}

/// Its snapshot may be older than what was parked, which nobody would free.
#[actix::test]
async fn what_frees_a_key_needs_read_committed() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 3).await;
    let ids = park_behind_a_failed_one(&one).await;
    let token = one.claim_mailbox(1).await.unwrap()[0].token;
    let settling = connect(db.url()).await;
    settling.batch_execute("begin isolation level repeatable read; select 1").await.unwrap();
    let settle = format!("select pubsub.settle({}, {token})", one.process);
    let refused = settling.batch_execute(&settle).await.unwrap_err();
    assert_eq!(refused.code().map(SqlState::code), Some("PB003"));
    settling.batch_execute("rollback; begin isolation level repeatable read").await.unwrap();
    let claim = format!("select pubsub.claim_mailbox({}, {}, 1)", one.subscription, one.process);
    let refused = settling.batch_execute(&claim).await.unwrap_err();
    assert_eq!(refused.code().map(SqlState::code), Some("PB003"));
    assert!(one.settle(token).await.unwrap());
    assert_eq!(handle_all(&one).await, ids[1..]);
}

/// The event before it waits for a retry, and both are in the mailbox.
#[actix::test]
async fn a_seek_brings_nothing_back_before_an_event_that_waits() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 3).await;
    let ids = park_behind_a_failed_one(&one).await;
    let seek = format!("select pubsub.seek('sms', 'one', event => {})", ids[1]);
    db.client.batch_execute(&seek).await.unwrap();
    assert_eq!(one.claim(10).await.unwrap(), []);
    assert_eq!(handle_all(&one).await, ids);
}

/// A process may have a lease that it does not know, because the answer to its claim was lost.
#[actix::test]
async fn nothing_is_claimed_past_an_unknown_lease() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 4).await;
    let unknown = one.claim(1).await.unwrap()[0];
    let claim = async |from: &str, known: &[i64]| -> i64 {
        let sql = format!("select count(*) from pubsub.{from}($1, $2, 1, known => $3)");
        db.client.query_one(&sql, &[&one.subscription, &one.process, &known]).await.unwrap().get(0)
    };
    assert_eq!(claim("claim", &[]).await, 0);
    assert_eq!(claim("claim", &[unknown.token]).await, 1);
    let sql = "select pubsub.return_unknown($1, $2, '{}')";
    let returned: i64 = db.client.query_one(sql, &[&one.subscription, &one.process]).await.unwrap().get(0);
    assert_eq!(returned, 2);
    let again = one.claim_mailbox(1).await.unwrap()[0];
    assert_eq!(again.id, unknown.id);
    assert_eq!(claim("claim_mailbox", &[]).await, 0);
    assert_eq!(claim("claim", &[]).await, 0);
    assert!(one.settle(again.token).await.unwrap());
    assert_eq!(claim("claim_mailbox", &[]).await, 1);
}

/// The lanes come in order, and a long key of the first would leave nothing of each batch to the others.
#[actix::test]
async fn what_is_parked_in_one_lane_leaves_room_for_the_others() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 0).await;
    let publish = "select pubsub.publish('sms', '{}', 'key' || n % 10) from generate_series(1, 1000) n";
    db.client.batch_execute(publish).await.unwrap();
    let lanes = "select count(distinct lane) from pubsub.mailbox";
    while db.count("select count(*) from pubsub.mailbox").await < 1000 {
        for event in one.claim(1).await.unwrap() {
            give_back(&one, &db, event.token).await;
        }
    }
    assert_eq!(db.count(lanes).await, 2);
    let claimed = one.claim_mailbox(100).await.unwrap();
    assert!(claimed.len() > 50, "{}", claimed.len());
    let by_lane = "select count(*) from pubsub.leases where cardinality(event_ids) > 20";
    assert_eq!(db.count(by_lane).await, 2);
}

/// A process that returns the events behind a failed one writes each lease for itself, in any order.
#[actix::test]
async fn events_returned_before_the_failure_is_written_are_parked() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 5).await;
    let failing = one.claim(1).await.unwrap()[0];
    let behind = one.claim(2).await.unwrap();
    let last = one.claim(2).await.unwrap();
    let ids: Vec<i64> = [&[failing][..], &behind, &last].concat().iter().map(|event| event.id).collect();

    give_back(&one, &db, last[0].token).await;
    assert_eq!(parked(&db).await, [(ids[3], false), (ids[4], true)]);
    give_back(&one, &db, behind[0].token).await;
    assert_eq!(parked(&db).await, [(ids[1], false), (ids[2], true), (ids[3], true), (ids[4], true)]);
    one.fail(failing.token, failing.id).await.unwrap();
    let expected: Vec<_> = ids.iter().map(|&id| (id, id != failing.id)).collect();
    assert_eq!(parked(&db).await, expected);
    assert_eq!(db.count("select sum(overdue)::bigint from pubsub.observed_subscriptions").await, 1);
    assert_eq!(handle_all(&one).await, ids);
}

/// A settlement that has the lane may park what a claim would hand out, and would wait for the claim, which waits for it.
#[actix::test]
async fn a_claim_that_waits_for_a_lane_locks_no_delivery_of_it() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 1).await;
    let token = one.claim(1).await.unwrap()[0].token;
    give_back(&one, &db, token).await;
    let [settling, claiming] = [connect(db.url()).await, connect(db.url()).await];
    let lane = "begin;
        select pg_advisory_xact_lock(hashtext('pubsub.claiming') + m.lane, m.subscription) from pubsub.mailbox m";
    settling.batch_execute(lane).await.unwrap();
    let claims = async {
        let claim = "select count(*) from pubsub.claim_mailbox($1, $2, 10)";
        let claimed: i64 =
            claiming.query_one(claim, &[&one.subscription, &one.process]).await.unwrap().get(0);
        assert_eq!(claimed, 1);
    };
    let parks = async {
        db.until_waiting(1).await;
        settling.batch_execute("update pubsub.mailbox set due_at = due_at; commit").await.unwrap();
    };
    tokio::join!(claims, parks);
}

/// A transaction that commits late brings an event with a lower id than one of its key that has failed before.
#[actix::test]
async fn a_late_event_before_one_that_waits_does_not_stop_its_key() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 0).await;
    let late = connect(db.url()).await;
    late.batch_execute("begin; select pubsub.publish('sms', '{}', 'key') from generate_series(1, 2)")
        .await
        .unwrap();
    publish(&db, 1).await;
    let failing = one.claim(1).await.unwrap()[0];
    one.fail(failing.token, failing.id).await.unwrap();
    late.batch_execute("commit").await.unwrap();
    assert_eq!(one.claim(10).await.unwrap(), []);
    let ids = [failing.id - 2, failing.id - 1, failing.id];
    assert_eq!(parked(&db).await, [(ids[0], false), (ids[1], true), (ids[2], true)]);
    assert_eq!(handle_all(&one).await, ids);
}

/// A seek brings back the events before one that has failed.
#[actix::test]
async fn a_seek_past_an_event_that_waits_does_not_stop_its_key() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 3).await;
    let claimed = one.claim(3).await.unwrap();
    let ids: Vec<i64> = claimed.iter().map(|event| event.id).collect();
    one.fail(claimed[0].token, ids[2]).await.unwrap();
    db.client.batch_execute("select pubsub.seek('sms', 'one', 'beginning')").await.unwrap();
    assert_eq!(one.claim(10).await.unwrap().len(), 1, "the event that waits comes once more from the log");
    assert_eq!(handle_all(&one).await, ids);
}

#[actix::test]
async fn a_redriven_letter_is_due_before_the_later_events_of_its_key() {
    let db = TestDatabase::new().await;
    let one = subscribed(&db, 3).await;
    let claimed = one.claim(1).await.unwrap()[0];
    let reject = format!(
        r#"select pubsub.settle({}, {}, null, '[{{"id": {}, "action": "reject"}}]')"#,
        one.process, claimed.token, claimed.id
    );
    db.client.batch_execute(&reject).await.unwrap();
    let behind = one.claim(2).await.unwrap();
    give_back(&one, &db, behind[0].token).await;
    db.client.batch_execute("select pubsub.redrive('sms', 'one')").await.unwrap();
    let ids = [claimed.id, behind[0].id, behind[1].id];
    assert_eq!(parked(&db).await, [(ids[0], false), (ids[1], true), (ids[2], true)]);
    assert_eq!(handle_all(&one).await, ids);
}

/// The late event is handled at once. The delivery behind it keeps the time that the handler has asked for.
#[actix::test]
async fn a_late_event_overtakes_one_that_is_to_be_retried_later() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handle = move |sms: Delivery<Sms>| {
        sender.send(sms.msg.clone());
        let later = Failure::retry_after(Duration::from_hours(1), "later");
        std::future::ready(if sms.msg == "late" { Ok(()) } else { Err(later) })
    };
    let _pubsub = db.pubsub().subscribe_fn_with("ordered", ordered(), handle).start().await.unwrap();
    let late = connect(db.url()).await;
    late.batch_execute("begin").await.unwrap();
    super::publish_as(&late, "key", "late").await;
    super::publish_as(&db.client, "key", "failing").await;
    assert_eq!(received.next().await, "failing");
    let waiting = "select count(*) from pubsub.mailbox where due_at between now() + interval '30 min' and now() + interval '1 day'";
    db.until_count(waiting, 1).await;
    late.batch_execute("commit").await.unwrap();
    assert_eq!(received.next().await, "late");
    db.until_count("select count(*) from pubsub.mailbox", 1).await;
    assert_eq!(db.count(waiting).await, 1);
}
