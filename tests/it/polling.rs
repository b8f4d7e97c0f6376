//! A process polls once for all its subscriptions: what is idle costs nothing by itself, and no lost bell is missed.

use pubsub::{Delivery, PubSub};
use pubsub_tests::{Email, Received, Sms, TestDatabase, connect, probe, sending, until};
use std::time::Duration;
use tokio_postgres::Client;

/// The subscriptions of the process to one channel. It has one more to another channel.
const SUBSCRIPTIONS: i64 = 60;

/// The functions that a dispatcher calls for one subscription.
const OF_ONE_SUBSCRIPTION: &str = "
    select coalesce(sum(f.calls), 0)::bigint
      from pg_stat_user_functions f
     where f.schemaname = 'pubsub' and f.funcname in (
               'claim', 'claim_mailbox', 'start_waiting', 'report_awake', 'stop_waiting', 'no_publisher_at_work'
           )";

const POLLS: &str = "
    select coalesce(sum(f.calls), 0)::bigint from pg_stat_user_functions f
     where f.schemaname = 'pubsub' and f.funcname = 'poll'";

const ASLEEP: &str = "select count(*) from pubsub.waiters where not is_awake and until > now()";

/// Starts a process whose subscriptions have nothing to read, and waits until all of them sleep.
async fn start_idle(db: &TestDatabase, poll_interval: Duration) -> (PubSub, Received<String>) {
    let count_calls = format!("alter database \"{}\" set track_functions = 'all'", db.database.name());
    db.client.batch_execute(&count_calls).await.unwrap();
    let (sender, received) = probe();
    let to_email = sending(sender.clone(), |email: Delivery<Email>| email.receiver.clone());
    // With one connection, whose session reports its calls in their order.
    let mut builder = db.pubsub().connections(1).poll_interval(poll_interval).subscribe_fn("one", to_email);
    for n in 0..SUBSCRIPTIONS {
        let to_sms = sending(sender.clone(), |sms: Delivery<Sms>| sms.msg.clone());
        builder = builder.subscribe_fn(format!("s{n}"), to_sms);
    }
    let pubsub = builder.start().await.unwrap();
    db.until_count(ASLEEP, SUBSCRIPTIONS + 1).await;
    // Each claims once more after the listener has connected, and sleeps again.
    until_polled(db, (3_000 / poll_interval.as_millis()) as i64).await;
    db.until_count(ASLEEP, SUBSCRIPTIONS + 1).await;
    (pubsub, received)
}

/// Waits until the process has polled so many times more.
async fn until_polled(db: &TestDatabase, times: i64) {
    let polled = db.count(POLLS).await;
    until(&db.client, &format!("select ({POLLS}) >= {polled} + {times}")).await;
}

#[actix::test]
async fn statements_of_an_idle_process_do_not_grow() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = start_idle(&db, Duration::from_millis(50)).await;
    let latest = db.count("select ceil(extract(epoch from max(until)))::bigint from pubsub.waiters").await;
    let (before, polled) = (db.count(OF_ONE_SUBSCRIPTION).await, db.count(POLLS).await);
    let renewed = format!("select count(*) from pubsub.waiters where until > to_timestamp({latest})");
    db.until_count(&renewed, SUBSCRIPTIONS + 1).await;
    until_polled(&db, 200).await;
    let (calls, polls) = (db.count(OF_ONE_SUBSCRIPTION).await - before, db.count(POLLS).await - polled);
    // Without a poll of the process, each subscription would call at least once in every poll interval.
    assert!(calls < polls, "{calls} calls of {SUBSCRIPTIONS} subscriptions in {polls} polls");
    pubsub::publish(&db.client, &Sms::new("rung")).await.unwrap();
    received.take(SUBSCRIPTIONS as usize).await;
    assert!(pubsub.drain(Duration::from_secs(30)).await);
}

#[actix::test]
async fn the_poll_finds_the_lost_bell_of_one_of_many() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = start_idle(&db, Duration::from_secs(1)).await;
    let (before, polled) = (db.count(OF_ONE_SUBSCRIPTION).await, db.count(POLLS).await);
    db.client.batch_execute("set pubsub.bell = off").await.unwrap();
    const ROUNDS: i64 = 3;
    for round in 0..ROUNDS {
        let receiver = format!("silent {round}");
        pubsub::publish(&db.client, &Email { receiver: receiver.clone() }).await.unwrap();
        assert_eq!(received.next().await, receiver);
        until_polled(&db, 1).await;
    }
    assert!(received.rest().is_empty());
    let (calls, polls) = (db.count(OF_ONE_SUBSCRIPTION).await - before, db.count(POLLS).await - polled);
    assert!(polls >= ROUNDS, "a poll found each");
    assert!(
        calls < ROUNDS * SUBSCRIPTIONS,
        "{calls} calls: subscriptions that have nothing to read were woken"
    );
    assert!(pubsub.drain(Duration::from_secs(30)).await);
}

/// Returns the subscriptions in which a poll sees something to read.
async fn unread(client: &Client, process: i64) -> Vec<i32> {
    let poll = "select p.subscription from pubsub.poll('{1, 2, 3, 99}', $1) p where p.is_unread order by 1";
    client.query(poll, &[&process]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[actix::test]
async fn a_poll_names_what_a_claim_would_find_or_refuse() {
    let db = TestDatabase::numbered().await;
    let run = async |sql: &str| db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    for sql in [
        "declare_channel('sms')",
        "declare_channel('email')",
        "register_process('host', 1, 'test')",
        "register_process('host', 1, 'test')",
        "subscribe('sms', 'unordered')",
        "subscribe('sms', 'ordered', lanes => 2)",
        "subscribe('email', 'other')",
    ] {
        run(sql).await;
    }
    assert_eq!(unread(&db.client, 1).await, [2, 99], "lanes to take, and a subscription that is gone");
    run("claim(2, 1, 10)").await;
    assert_eq!(unread(&db.client, 1).await, [99]);
    assert_eq!(unread(&db.client, 2).await, [2, 99], "the other process has both lanes");
    run("claim(2, 2, 10)").await;
    assert_eq!((unread(&db.client, 1).await, unread(&db.client, 2).await), (vec![99], vec![99]));

    // One key is in the lane of one of both processes.
    run("publish('sms', '{}', 'key')").await;
    let mut both = [unread(&db.client, 1).await, unread(&db.client, 2).await];
    both.sort();
    assert_eq!(both, [vec![1, 2, 99], vec![1, 99]]);
    for process in [1, 2] {
        run(&format!("claim(2, {process}, 10)")).await;
    }
    run("claim(1, 1, 10)").await;
    assert_eq!(unread(&db.client, 1).await, [99]);

    let publisher = connect(db.url()).await;
    publisher.batch_execute("begin; select pubsub.publish('email', '{}')").await.unwrap();
    run("claim(3, 1, 10)").await;
    assert_eq!(unread(&db.client, 1).await, [99], "the publisher has not committed");
    run("publish('email', '{}')").await;
    run("claim(3, 1, 10)").await;
    assert_eq!(unread(&db.client, 1).await, [99]);
    publisher.batch_execute("commit").await.unwrap();
    assert_eq!(unread(&db.client, 1).await, [3, 99], "an id that was passed before its commit");
    run("claim(3, 1, 10)").await;

    run("subscribe('email', 'other', lanes => 4)").await;
    assert_eq!(unread(&db.client, 1).await, [3, 99], "a claim changes the lanes");
    db.client
        .batch_execute("update pubsub.subscriptions set suspended_at = now() where id = 1")
        .await
        .unwrap();
    assert_eq!(unread(&db.client, 1).await, [1, 3, 99], "a claim says that it is suspended");
}

#[actix::test]
async fn a_poll_writes_nothing_but_renewals() {
    let db = TestDatabase::numbered().await;
    let run = async |sql: &str| db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    for sql in ["declare_channel('sms')", "register_process('host', 1, 'test')", "subscribe('sms', 'one')"] {
        run(sql).await;
    }
    let poll = async |client: &Client, renewals: &str| {
        let poll =
            format!("select count(*) from pubsub.poll('{{1}}', 1, '{renewals}') p where not p.is_unread");
        client.query_one(&poll, &[]).await.unwrap().get::<_, i64>(0)
    };
    let writes = "select count(*) where pg_current_xact_id_if_assigned() is not null";
    db.client.batch_execute("begin").await.unwrap();
    assert_eq!(poll(&db.client, "{1}").await, 0, "there is no row to renew");
    assert_eq!(db.count(writes).await, 0);
    db.client.batch_execute("commit").await.unwrap();
    run("report_awake(1, 1, '10 s')").await;
    assert_eq!(poll(&db.client, "{1}").await, 0, "the process is awake");
    run("start_waiting(1, 1, '-1 s')").await;
    assert_eq!(poll(&db.client, "{1}").await, 0, "the row counts no longer");
    run("start_waiting(1, 1, '10 s')").await;
    db.client.batch_execute("begin").await.unwrap();
    assert_eq!((poll(&db.client, "{}").await, db.count(writes).await), (0, 0));
    assert_eq!((poll(&db.client, "{1}").await, db.count(writes).await), (1, 1));
    db.client.batch_execute("rollback").await.unwrap();
}

#[actix::test]
async fn a_renewal_keeps_no_row_that_is_being_removed() {
    let db = TestDatabase::numbered().await;
    let other = connect(db.url()).await;
    let run = async |client: &Client, sql: &str| client.batch_execute(sql).await.unwrap();
    for sql in ["declare_channel('sms')", "register_process('host', 1, 'test')", "subscribe('sms', 'one')"] {
        run(&db.client, &format!("select pubsub.{sql}")).await;
    }
    let (start, stop) = ("select pubsub.start_waiting(1, 1, '10 s')", "select pubsub.stop_waiting(1, 1)");
    let renew = "select count(*) from pubsub.poll('{}', 1, '{1}', '1 hour')";
    let rows = "select count(*) from pubsub.waiters";

    run(&db.client, start).await;
    run(&other, "begin").await;
    run(&other, stop).await;
    assert_eq!(db.count(renew).await, 0, "it waits for nobody");
    run(&other, "commit").await;
    assert_eq!(db.count(rows).await, 0);

    run(&db.client, start).await;
    run(&db.client, "begin").await;
    assert_eq!(db.count(renew).await, 1);
    let url = db.url().to_owned();
    let removing = tokio::spawn(async move { connect(&url).await.batch_execute(stop).await });
    let waits = "select exists (
                     select from pg_locks l join pg_stat_activity a on a.pid = l.pid
                      where a.datname = current_database() and not l.granted and l.locktype = 'transactionid'
                 )";
    until(&other, waits).await;
    run(&db.client, "commit").await;
    removing.await.unwrap().unwrap();
    assert_eq!(db.count(rows).await, 0, "the renewed row is removed");
}
