//! A stale answer is refused, so at most one answer counts.

use pubsub::{Delivery, publish};
use pubsub_tests::{Sms, SqlSubscriber, TestDatabase, connect, probe};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Semaphore;

#[actix::test]
async fn a_stale_settle_is_refused() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    client.batch_execute("select pubsub.subscribe('sms', 'one')").await.unwrap();
    client.batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 3)").await.unwrap();
    let register = "select pubsub.register_process('host', 1, 'test')";
    let (stale, fresh): (i64, i64) = (db.count(register).await, db.count(register).await);
    let token = client.query("select token from pubsub.claim(1, $1, 10)", &[&stale]).await.unwrap()[0]
        .get::<_, i64>(0);

    let settle = "select pubsub.settle($1, $2)";
    let settled = async |process: i64, token: i64| -> bool {
        client.query_one(settle, &[&process, &token]).await.unwrap().get(0)
    };
    assert!(!settled(fresh, token).await, "it does not hold the lease");
    client.execute("update pubsub.processes set beat_at = 'epoch' where id = $1", &[&stale]).await.unwrap();
    let orphans = "select coalesce(sum(orphans), 0)::bigint from pubsub.reclaim('10 s')";
    assert_eq!(db.count(orphans).await, 0, "no process has witnessed its silence");
    db.witness().await;
    assert_eq!(db.count(orphans).await, 3);

    assert!(!settled(stale, token).await, "the process was declared dead");
    assert_eq!(db.count("select count(*) from pubsub.mailbox where attempt = 1 and crashes = 1").await, 3);
    let suspect = "select token from pubsub.claim_mailbox(1, $1, 1, suspect => true)";
    let again = client.query(suspect, &[&fresh]).await.unwrap();
    assert_eq!(again.len(), 1, "a suspect is claimed alone");
    let newer: i64 = again[0].get(0);
    assert!(newer > token, "tokens rise");
    assert!(!settled(stale, newer).await);
    assert!(!settled(fresh, token).await);
    assert!(settled(fresh, newer).await);
    assert!(!settled(fresh, newer).await, "the event was settled once");
    assert_eq!(db.count("select count(*) from pubsub.mailbox").await, 2);
}

#[actix::test]
async fn events_beyond_the_start_limit_are_not_suspects() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    client.batch_execute("select pubsub.subscribe('sms', 'one')").await.unwrap();
    client.batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 8)").await.unwrap();
    let process = db.count("select pubsub.register_process('host', 1, 'test')").await;
    let claim = "select token, id from pubsub.claim(1, $1, $2, start_limit => 3)";
    let first = client.query(claim, &[&process, &4]).await.unwrap();
    let second = client.query(claim, &[&process, &4]).await.unwrap();
    let id = |of: usize| if of < 4 { first[of].get::<_, i64>(1) } else { second[of - 4].get(1) };
    // The first two are settled. Of 2, 3 | 4, 5, 6, 7 the first three may have started, across the leases.
    let settle = "select pubsub.settle($1, $2, $3)";
    client.query(settle, &[&process, &first[0].get::<_, i64>(0), &vec![id(0), id(1)]]).await.unwrap();
    db.count("select pubsub.orphan_leases(id, 'crash', 'killed') from pubsub.processes").await;

    let counts = "select event_id, attempt, crashes from pubsub.mailbox order by event_id";
    let counts: Vec<(i64, i32, i32)> = client
        .query(counts, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let started = |of| (id(of), 1, 1);
    let not_begun = |of| (id(of), 0, 0);
    assert_eq!(counts, [started(2), started(3), started(4), not_begun(5), not_begun(6), not_begun(7)]);
}

#[actix::test]
async fn a_late_answer_of_a_dead_process_does_not_count() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let (finish, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicBool::new(false)));
    let pubsub = {
        let finish = finish.clone();
        db.pubsub()
            .subscribe_fn("slow", move |sms: Delivery<Sms>| {
                let is_first = !begun.swap(true, Ordering::Relaxed);
                sender.send((sms.attempt(), sms.token()));
                let (finish, sender) = (finish.clone(), sender.clone());
                async move {
                    if is_first {
                        assert!(sms.is_current());
                        finish.acquire().await?.forget();
                        sender.send((0, sms.token()));
                        assert!(!sms.is_current(), "the handler knows that it is too late");
                        return Err(pubsub::Failure::reject("too late, so this must not count"));
                    }
                    Ok(())
                }
            })
            .start()
            .await
            .unwrap()
    };
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    let (attempt, first) = received.next().await;
    assert_eq!(attempt, 1);
    // As if another process had seen it silent for too long.
    db.count("select pubsub.end_process(id, 'crash', 'silent') from pubsub.processes").await;
    let (attempt, second) = received.next().await;
    assert_eq!(attempt, 1, "the same process has registered again and claims it anew: it had not died");
    assert!(second > first);
    finish.add_permits(1);
    assert_eq!(received.next().await, (0, first));
    db.until_settled().await;
    assert!(pubsub.drain(std::time::Duration::from_secs(10)).await);
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0, "the late answer was refused");
}

#[actix::test]
async fn a_process_declared_dead_can_claim_nothing() {
    let db = TestDatabase::new().await;
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one')", "publish('sms', '{}')"] {
        db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    let refused = db.client.query("select * from pubsub.claim(1, 7, 10)", &[]).await.unwrap_err();
    let refused = refused.as_db_error().unwrap();
    assert_eq!((refused.code().code(), refused.message()), ("PB006", "process 7 is not registered"));
    assert_eq!(db.count("select count(*) from pubsub.leases").await, 0);
}

#[actix::test]
async fn an_ambiguous_settlement_is_refused_and_changes_nothing() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    let one = SqlSubscriber::register(client, "one").await.unwrap();
    client.batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 3)").await.unwrap();
    let claimed = one.claim(10).await.unwrap();
    let (token, process) = (claimed[0].token, one.process);
    for settlement in [
        r#"null, '[{"action": "retry"}]'"#,
        r#"null, '[{"id": null, "action": "retry"}]'"#,
        r#"null, '[{"id": 1, "action": "retry"}, {"id": 1, "action": "reject"}]'"#,
        r#"null, '[{"id": 1, "action": "retry"}, {"id": 9, "action": "reject"}]'"#,
        r#"'{1}', '[{"id": 1, "action": "reject"}]'"#,
        r#"'{2}', '[{"action": "reject"}]'"#,
        r#"'{1, null}', null"#,
        r#"'{1, null}', '[{"id": 2, "action": "retry"}]'"#,
        r#"null, '[{"id": 1, "action": "retries"}]'"#,
        r#"null, '[{"id": 1}]'"#,
        r#"null, '[1]'"#,
        r#"null, '{"id": 1, "action": "retry"}'"#,
        r#"null, 'null'"#,
    ] {
        let settle = format!("select pubsub.settle({process}, {token}, {settlement})");
        let refused = client.batch_execute(&settle).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "22023", "{settlement}: {refused:?}");
    }
    assert_eq!(db.count("select cardinality(event_ids)::bigint from pubsub.leases").await, 3);
    let written = "select (select count(*) from pubsub.mailbox) + (select count(*) from pubsub.dead_letters)";
    assert_eq!(db.count(written).await, 0);
    // An event that is done is named twice by a caller that repeats itself.
    let settle = format!(
        r#"select pubsub.settle({process}, {token}, '{{1, 1}}', '[{{"id": 2, "action": "retry"}}]')"#
    );
    client.batch_execute(&settle).await.unwrap();
    assert_eq!(db.count("select event_ids[1] from pubsub.leases where cardinality(event_ids) = 1").await, 3);
}

#[actix::test]
async fn a_takeover_beside_a_first_claim_does_not_deadlock() {
    let db = TestDatabase::numbered().await;
    for sql in [
        "select pubsub.declare_channel('sms')",
        "select pubsub.subscribe('sms', 'one', lanes => 4)",
        "select pubsub.register_process('host', n, 'test') from generate_series(1, 2) n",
        "select pubsub.claim(1, 1, 1)",
        "select pubsub.publish('sms', '{}', 'key' || n) from generate_series(1, 40) n",
        "select pubsub.claim(1, 1, 40)",
        "select pubsub.publish('sms', '{}', 'key' || n) from generate_series(1, 40) n",
    ] {
        db.client.batch_execute(sql).await.unwrap();
    }
    // Somebody claims from the last lane, so both take the other lanes first.
    let gate = connect(db.url()).await;
    gate.batch_execute("begin; select pg_advisory_xact_lock(hashtext('pubsub.claiming') + 4, 1)")
        .await
        .unwrap();
    let waiting = "select count(*) from pg_locks
                    where not granted and database = (select oid from pg_database where datname = current_database())";
    let [dead, new] = [connect(db.url()).await, connect(db.url()).await];
    let takeover =
        tokio::spawn(async move { dead.query("select pubsub.end_process(1, 'crash', 'died')", &[]).await });
    db.until_count(waiting, 1).await;
    let claim = tokio::spawn(async move { new.query("select pubsub.claim(1, 2, 10)", &[]).await });
    db.until_count(waiting, 2).await;
    gate.batch_execute("commit").await.unwrap();
    takeover.await.unwrap().unwrap();
    claim.await.unwrap().unwrap();
}

/// A claim is sent together with another statement. That the other one fails does not mean that the claim has.
#[actix::test]
async fn a_claim_counts_although_its_companion_fails() {
    for (function, result) in [
        ("report_awake(subscription integer, process bigint, ttl interval)", "void"),
        ("no_publisher_at_work(subscription integer)", "boolean"),
    ] {
        let db = TestDatabase::new().await;
        let (_pubsub, mut received) = db.receive("one").await;
        let fails = format!(
            "create or replace function pubsub.{function} returns {result} language plpgsql
             as $$ begin raise exception using errcode = 'read_only_sql_transaction'; end $$"
        );
        db.client.batch_execute(&fails).await.unwrap();
        // A stream, so that claims meet events while the process says that it is awake and while it goes to sleep.
        let published: Vec<String> = (100..900).map(|n| n.to_string()).collect();
        for msg in &published {
            publish(&db.client, &Sms::new(msg)).await.unwrap();
        }
        assert_eq!(received.take_sorted(published.len()).await, published, "{function}");
        db.until_settled().await;
    }
}
