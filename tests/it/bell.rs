//! The bell rings for sleeping processes and for no others, and can be silenced.

use pubsub::{Delivery, PubSub, SubscribeOptions, publish};
use pubsub_tests::{
    BellListener, ChildProcess, DEADLINE, Sms, SqlSubscriber, TestDatabase, connect, in_child_process,
};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_postgres::Client;

/// The number of attempts to kill a process while it has a waiter row.
const KILLS: usize = 50;

/// Starts a process, kills it asleep, and returns its id.
async fn die_asleep(db: &TestDatabase) -> i64 {
    for _ in 0..KILLS {
        let mut process = ChildProcess::start("bell::child_sleeps", db.url());
        assert_eq!(process.next().await, "started");
        db.until_count("select count(*) from pubsub.waiters", 1).await;
        process.signal("KILL");
        process.exited().await;
        let row = db.client.query_opt("select process from pubsub.waiters", &[]).await.unwrap();
        // Without a waiter row it was awake after all: it polls once more after its listener has connected.
        if let Some(row) = row {
            return row.get(0);
        }
    }
    panic!("a process that has nothing to do does not sleep");
}

/// Sleeps until it is killed.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_sleeps() {
    let Some((url, report)) = in_child_process() else { return };
    let _pubsub =
        PubSub::builder(url).subscribe_fn("one", async |_: Delivery<Sms>| Ok(())).start().await.unwrap();
    report("started");
    std::future::pending::<()>().await;
}

#[actix::test]
async fn publishers_ring_only_for_sleeping_processes() {
    let db = TestDatabase::numbered().await;
    let mut listener = BellListener::new(db.url()).await;
    let client = &db.client;
    let register = "register_process('localhost', 1, 'test')";
    for sql in ["declare_channel('sms')", "declare_channel('email')", "subscribe('sms', 'one')", register] {
        client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    let publish = async |channel: &str| {
        client.batch_execute(&format!("select pubsub.publish('{channel}', '{{}}')")).await.unwrap();
    };
    publish("sms").await;
    assert_eq!(listener.rung().await, [] as [String; 0], "no process sleeps");
    client.batch_execute("select pubsub.start_waiting(1, 1, '1 minute')").await.unwrap();
    publish("email").await;
    assert_eq!(listener.rung().await, [] as [String; 0], "no process sleeps on that channel");
    publish("sms").await;
    assert_eq!(listener.rung().await, ["sms 1"]);
    client.batch_execute("select pubsub.stop_waiting(1, 1)").await.unwrap();
    publish("sms").await;
    assert_eq!(listener.rung().await, [] as [String; 0], "the sleeper is awake");
}

#[actix::test]
async fn one_of_many_sleepers_is_rung_and_none_while_one_is_awake() {
    let db = TestDatabase::numbered().await;
    let mut listener = BellListener::new(db.url()).await;
    let client = &db.client;
    let run = async |sql: &str| client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one')", "subscribe('sms', 'two')"] {
        run(sql).await;
    }
    for _ in 1..=5 {
        run("register_process('localhost', 1, 'test')").await;
    }
    for sleeper in 1..=3 {
        run(&format!("start_waiting(1, {sleeper}, '1 minute')")).await;
    }
    run("publish('sms', '{}')").await;
    assert_eq!(listener.rung().await, ["sms 3"], "the process that fell asleep last");
    run("report_awake(1, 3, '1 minute')").await;
    run("publish('sms', '{}')").await;
    assert_eq!(listener.rung().await, [] as [String; 0], "the awake process finds the event");
    run("start_waiting(2, 4, '1 minute')").await;
    run("publish('sms', '{}')").await;
    assert_eq!(listener.rung().await, ["sms 4"], "no process of the other subscription is awake");
    run("stop_waiting(2, 4)").await;
    assert_eq!(listener.rung().await, [] as [String; 0], "no other process sleeps on that subscription");

    run("stop_waiting(1, 3)").await;
    assert_eq!(listener.rung().await, ["sms 2"], "the bell is passed on");
    run("report_awake(1, 2, '1 minute')").await;
    run("leave(2)").await;
    assert_eq!(listener.rung().await, ["sms 1"], "and by who is gone, too");
    run("start_waiting(1, 2, '1 minute')").await;
    run("publish('sms', '{}')").await;
    assert_eq!(listener.rung().await, ["sms 1"], "a removed process cannot fall asleep again");
    run("start_waiting(1, 5, '1 minute')").await;
    run("report_awake(1, 2, '1 minute')").await;
    run("publish('sms', '{}')").await;
    assert_eq!(listener.rung().await, ["sms 5"], "a removed process cannot be awake");
    run("report_awake(1, 1, '1 minute')").await;
    client.batch_execute("update pubsub.waiters set until = 'epoch' where is_awake").await.unwrap();
    run("publish('sms', '{}')").await;
    assert_eq!(listener.rung().await, ["sms 5"], "the awake process is dead or hangs");

    run("subscribe('sms', 'one', lanes => 4)").await;
    run("claim(1, 1, 10)").await;
    listener.rung().await;
    run("report_awake(1, 1, '1 minute')").await;
    run("publish('sms', '{}')").await;
    assert_eq!(listener.rung().await, ["sms"], "every process of an ordered subscription is rung");
}

/// Starts a runtime, with or without a listener, whose handler takes one event at a time and waits for a permit to finish.
async fn start_without_bell(
    db: &TestDatabase,
    started: &UnboundedSender<String>,
    may_end: &Arc<Semaphore>,
) -> PubSub {
    let (started, may_end) = (started.clone(), Arc::clone(may_end));
    let one_at_a_time = SubscribeOptions::default().concurrency(1);
    db.pubsub()
        .poll_interval(Duration::from_secs(3_600))
        .subscribe_fn_with("one", one_at_a_time, move |sms: Delivery<Sms>| {
            let (started, may_end) = (started.clone(), Arc::clone(&may_end));
            async move {
                started.send(sms.msg.clone()).unwrap();
                may_end.acquire().await.unwrap().forget();
                // Longer than the longest window, so its dispatcher never claims an event ahead.
                tokio::time::sleep(Duration::from_millis(300)).await;
                Ok(())
            }
        })
        .start()
        .await
        .unwrap()
}

#[actix::test]
async fn a_process_without_room_passes_the_bell_on() {
    let db = TestDatabase::new().await;
    let (started, mut has_started) = unbounded_channel();
    let may_end = Arc::new(Semaphore::new(0));
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(start_without_bell(&db, &started, &may_end).await);
    }
    // The process that is woken for the first event has no room for the second, and the publisher relies on it. Several
    // rounds, because each process polls once by itself after its listener has connected.
    for round in 0..10 {
        db.until_count("select count(*) from pubsub.waiters where not is_awake", 3).await;
        let mut msgs = ["first", "second", "third"].map(|msg| format!("{msg} of round {round}"));
        for msg in &msgs {
            publish(&db.client, &Sms::new(msg)).await.unwrap();
        }
        let mut started = Vec::new();
        for _ in &msgs {
            let next = tokio::time::timeout(Duration::from_secs(30), has_started.recv()).await;
            started
                .push(next.unwrap_or_else(|_| panic!("processes were woken for {started:?} only")).unwrap());
        }
        msgs.sort();
        started.sort();
        assert_eq!(started, msgs);
        may_end.add_permits(msgs.len());
    }
    for process in processes {
        assert!(process.drain(Duration::from_secs(10)).await);
    }
}

#[actix::test]
async fn the_waiter_row_of_a_dead_process_expires() {
    let db = TestDatabase::new().await;
    let mut listener = BellListener::new(db.url()).await;
    die_asleep(&db).await;
    let client = &db.client;
    let longest = "select count(*) from pubsub.waiters where until > clock_timestamp() + '10 seconds'";
    assert_eq!(db.count(longest).await, 0, "a waiter row counts for at most ten seconds");
    listener.rung().await;
    // No process takes over from it, and its waiter row expires after ten seconds.
    client
        .batch_execute("update pubsub.waiters set until = clock_timestamp() - interval '1 ms'")
        .await
        .unwrap();
    client.batch_execute("select pubsub.publish('sms', '{\"msg\": \"hello\"}')").await.unwrap();
    assert_eq!(listener.rung().await, [] as [String; 0], "a dead process is not rung");
    assert_eq!(db.count("select count(*) from pubsub.waiters").await, 1);
    assert_eq!(db.count("select pubsub.reclaim_strays()").await, 0);
    assert_eq!(db.count("select count(*) from pubsub.waiters").await, 0, "the janitor removes the row");
}

#[actix::test]
async fn taking_over_from_a_dead_process_removes_its_waiter_row() {
    let db = TestDatabase::new().await;
    let id = die_asleep(&db).await;
    let pubsub = db.pubsub().start().await.unwrap();
    db.until_count(&format!("select count(*) from pubsub.processes where id = {id}"), 0).await;
    assert_eq!(db.count("select count(*) from pubsub.waiters").await, 0);
    assert!(pubsub.drain(std::time::Duration::from_secs(10)).await);
}

/// Keeps a process from being declared dead until this is dropped. It can still beat.
async fn undead(db: &TestDatabase, process: i64) -> Client {
    let client = connect(db.url()).await;
    let lock = format!("begin; select from pubsub.registrations where process = {process} for key share");
    client.batch_execute(&lock).await.unwrap();
    client
}

/// Starts a process that never polls. Returns it once it sleeps, with its id.
async fn sleeper(db: &TestDatabase) -> (PubSub, UnboundedReceiver<String>, i64) {
    let (started, has_started) = unbounded_channel();
    let process = start_without_bell(db, &started, &Arc::new(Semaphore::new(1_000))).await;
    db.until_count("select count(*) from pubsub.waiters where not is_awake", 1).await;
    let id = db.count("select id from pubsub.processes").await;
    (process, has_started, id)
}

#[actix::test]
async fn a_death_between_bell_and_claim_wakes_another_process() {
    let db = TestDatabase::new().await;
    let mut listener = BellListener::new(db.url()).await;
    let (_survivor, mut has_started, id) = sleeper(&db).await;
    let mut victim = ChildProcess::start("bell::child_sleeps", db.url());
    assert_eq!(victim.next().await, "started");
    // It falls asleep after the survivor, so publishers ring for it.
    let last = "select process from pubsub.waiters where not is_awake order by until desc limit 1";
    let mut victim_id = id;
    while victim_id == id {
        victim_id = db.client.query_opt(last, &[]).await.unwrap().map_or(id, |row| row.get(0));
    }
    let _undead = undead(&db, victim_id).await;
    victim.signal("STOP");
    // Publishers ring for the row that counts longest, and the survivor may renew its own.
    let longest =
        "update pubsub.waiters set until = clock_timestamp() + interval '1 hour' where process = $1";
    db.client.execute(longest, &[&victim_id]).await.unwrap();
    listener.rung().await;
    publish(&db.client, &Sms::new("hello")).await.unwrap();
    assert!(!listener.rung().await.contains(&format!("sms {id}")), "the publisher relies on the victim");
    victim.signal("KILL");
    victim.exited().await;
    // By the bell that is passed on, or by a poll of its own, which may come first.
    let next = tokio::time::timeout(DEADLINE, has_started.recv()).await;
    assert_eq!(next.expect("the survivor was not woken").unwrap(), "hello");
}

#[actix::test]
async fn a_death_awake_wakes_another_process() {
    let db = TestDatabase::new().await;
    let mut listener = BellListener::new(db.url()).await;
    let (_survivor, mut has_started, id) = sleeper(&db).await;
    let mut undead_ones = Vec::new();
    // Several rounds, because the survivor polls once by itself after its listener has connected.
    for msg in ["first", "second", "third"] {
        let victim = db.count("select pubsub.register_process('localhost', 1, 'test')").await;
        let session = connect(db.url()).await;
        session.batch_execute(&format!("select pubsub.beat({victim})")).await.unwrap();
        undead_ones.push(undead(&db, victim).await);
        let awake = format!("select pubsub.report_awake(id, {victim}, '1 hour') from pubsub.subscriptions");
        db.client.batch_execute(&awake).await.unwrap();
        db.until_count(
            &format!("select count(*) from pubsub.waiters where process = {id} and not is_awake"),
            1,
        )
        .await;
        listener.rung().await;
        publish(&db.client, &Sms::new(msg)).await.unwrap();
        assert!(!listener.rung().await.contains(&format!("sms {id}")), "the publisher relies on the victim");
        drop(session);
        let next = tokio::time::timeout(Duration::from_secs(30), has_started.recv()).await;
        assert_eq!(next.expect("nobody else was woken").unwrap(), msg);
    }
}

#[actix::test]
async fn an_absent_process_is_rung_where_nobody_else_waits() {
    let db = TestDatabase::numbered().await;
    let mut listener = BellListener::new(db.url()).await;
    let run = async |sql: &str| db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one')", "subscribe('sms', 'two')"] {
        run(sql).await;
    }
    for _ in 1..=2 {
        run("register_process('localhost', 1, 'test')").await;
    }
    for waits in ["1, 2", "1, 1", "2, 1"] {
        run(&format!("start_waiting({waits}, '1 minute')")).await;
    }
    run("stop_waiting(null, 1)").await;
    assert_eq!(
        listener.rung().await,
        ["sms 2", "sms 1"],
        "its bell is passed on where another process waits"
    );
    run("publish('sms', '{}')").await;
    assert_eq!(listener.rung().await, ["sms 2", "sms 1"]);
}

#[actix::test]
async fn only_without_the_bell_can_a_publisher_prepare_a_transaction() {
    let db = TestDatabase::new().await;
    let mut listener = BellListener::new(db.url()).await;
    let (_pubsub, mut received) = db.receive("one").await;
    let client = &db.client;
    // A sleeper that does not wake up, whatever the runtime does.
    let register = "select pubsub.register_process('localhost', 1, 'test')";
    let process: i64 = client.query_one(register, &[]).await.unwrap().get(0);
    client.execute("select pubsub.start_waiting(1, $1, '10 minutes')", &[&process]).await.unwrap();
    let name = db.database.name();

    client.batch_execute("begin").await.unwrap();
    publish(client, &Sms::new("rung for")).await.unwrap();
    let refused = client.batch_execute(&format!("prepare transaction '{name}'")).await.unwrap_err();
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("0A000"), "{refused:?}");
    client.batch_execute("rollback").await.unwrap();

    listener.rung().await;
    client.batch_execute("begin; set local pubsub.bell = 'off'").await.unwrap();
    publish(client, &Sms::new("polled for")).await.unwrap();
    client.batch_execute(&format!("prepare transaction '{name}'")).await.unwrap();
    assert!(received.rest().is_empty(), "nothing is seen before the commit");
    client.batch_execute(&format!("commit prepared '{name}'")).await.unwrap();
    assert_eq!(received.next().await, "polled for");
    assert_eq!(listener.rung().await, [] as [String; 0], "the poll found the event");
    client.batch_execute("begin").await.unwrap();
    assert_eq!(db.count("select count(*) where current_setting('pubsub.bell', true) = 'off'").await, 0);
    client.batch_execute("rollback").await.unwrap();
}

#[actix::test]
async fn a_reregistered_process_is_rung_under_its_new_id() {
    let db = TestDatabase::new().await;
    let (started, mut has_started) = unbounded_channel();
    let may_end = Arc::new(Semaphore::new(0));
    let process = start_without_bell(&db, &started, &may_end).await;
    db.until_count("select count(*) from pubsub.waiters where not is_awake", 1).await;
    db.client.batch_execute("select pubsub.leave(process) from pubsub.waiters").await.unwrap();
    // The bell delivers the last one, whatever polling there was after the listener had connected.
    for msg in ["first", "second", "third", "fourth"] {
        db.until_count("select count(*) from pubsub.waiters where not is_awake", 1).await;
        publish(&db.client, &Sms::new(msg)).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(30), has_started.recv()).await;
        assert_eq!(next.expect("the process was not woken").unwrap(), msg);
        // The process does not sleep while its handler is full.
        db.until_count("select count(*) from pubsub.waiters where not is_awake", 0).await;
        may_end.add_permits(1);
    }
    assert!(process.drain(Duration::from_secs(10)).await);
}

/// The number of listeners, and how long they are observed. Alone, each would test itself at least twice in that time.
const LISTENERS: usize = 10;
const OBSERVED_FOR: Duration = Duration::from_secs(11);

#[actix::test]
async fn one_of_many_silent_listeners_tests_the_bell() {
    let db = TestDatabase::new().await;
    let mut listener = BellListener::new(db.url()).await;
    let mut processes = Vec::new();
    for _ in 0..LISTENERS {
        let builder = db.pubsub().connections(1);
        processes.push(builder.subscribe_fn("one", async |_: Delivery<Sms>| Ok(())).start().await.unwrap());
    }
    db.until_count("select count(*) from pubsub.waiters where not is_awake", LISTENERS as i64).await;
    listener.tests().await;
    let began = Instant::now();
    let mut tests = 0;
    while began.elapsed() < OBSERVED_FOR {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tests += listener.tests().await;
    }
    assert!((1..=LISTENERS).contains(&tests), "{tests} tests in {:?}", began.elapsed());
    for process in processes {
        assert!(process.drain(Duration::from_secs(10)).await);
    }
}

#[actix::test]
async fn falling_asleep_in_a_transaction_stops_no_publisher() {
    let db = TestDatabase::numbered().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let asleep = connect(db.url()).await;
    // A client without autocommit leaves its transaction open after each call.
    for call in
        ["start_waiting(1, 1, '1 minute')", "no_publisher_at_work(1)", "stop_waiting(1, 1)", "next(1, 1)"]
    {
        asleep.batch_execute(&format!("begin; select pubsub.{call}")).await.unwrap();
        let publish = "set lock_timeout = '1ms'; select pubsub.publish('sms', '{}')";
        db.client.batch_execute(publish).await.unwrap_or_else(|error| panic!("{call}: {error:?}"));
        asleep.batch_execute("rollback").await.unwrap();
    }
    assert_eq!(one.drain(10).await.unwrap().len(), 4);
}
