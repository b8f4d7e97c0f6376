//! Nobody living is declared dead: not by a server that was read-only, frozen or far away, nor by its clock. A process that
//! is declared dead all the same takes that back.

use super::{gated, processes};
use pubsub::testing::{Database, Server};
use pubsub::{Delivery, PubSub, publish};
use pubsub_tests::{Proxy, Received, Sms, SqlSubscriber, TestDatabase, connect, probe, sending};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Longer than the silence limit.
const LONG: Duration = Duration::from_secs(7);

/// Two processes, one of which holds an event, on a server of their own.
struct Pair {
    server: Server,
    db: TestDatabase,
    _processes: [PubSub; 2],
    ids: Vec<i64>,
    received: Received<(String, u32)>,
    gate: Arc<Semaphore>,
}

impl Pair {
    async fn start() -> Self {
        let server = tokio::task::spawn_blocking(Server::start).await.unwrap().unwrap();
        let database = Database::create_on(&server.url("postgres")).await.unwrap();
        let db = TestDatabase { client: connect(database.url()).await, database };
        let ((sender, mut received), gate) = (probe(), Arc::new(Semaphore::new(0)));
        let first = gated(db.url(), sender.clone(), gate.clone()).await;
        let second = gated(db.url(), sender, gate.clone()).await;
        publish(&db.client, &Sms::new("slow")).await.unwrap();
        assert_eq!(received.next().await, ("slow".into(), 1));
        let ids = processes(&db).await;
        Self { server, db, _processes: [first, second], ids, received, gate }
    }

    /// Waits until both processes have beaten for a while since now.
    async fn until_both_beat(&self) {
        let began: String =
            self.db.client.query_one("select clock_timestamp()::text", &[]).await.unwrap().get(0);
        let beaten = format!(
            "select count(*) from pubsub.processes where beat_at > '{began}'::timestamptz + interval '2 seconds'"
        );
        self.db.until_count(&beaten, 2).await;
    }

    /// Lets the event end, and checks that it ran once and that nobody was declared dead.
    async fn assert_nobody_died(mut self) {
        self.until_both_beat().await;
        assert_eq!(processes(&self.db).await, self.ids, "a living process was declared dead");
        self.gate.add_permits(10);
        self.db.until_settled().await;
        assert_eq!(self.received.rest(), [], "the event ran once");
        assert_eq!(self.db.count("select count(*) from pubsub.dead_letters").await, 0);
    }
}

#[actix::test]
async fn a_read_only_server_leaves_the_living_alone() {
    let pair = Pair::start().await;
    let read_only = async |on: &str| {
        let set = format!("alter system set default_transaction_read_only = {on}");
        pair.db.client.batch_execute(&set).await.unwrap();
        pair.db.client.batch_execute("select pg_reload_conf()").await.unwrap();
    };
    for length in [LONG, LONG / 7, LONG / 3] {
        read_only("on").await;
        // Their sessions are cut, as a failover does.
        let cut = "select pg_terminate_backend(session_pid) from pubsub.processes";
        pair.db.client.batch_execute(cut).await.unwrap();
        tokio::time::sleep(length).await;
        read_only("off").await;
        pair.until_both_beat().await;
        assert_eq!(processes(&pair.db).await, pair.ids, "after {length:?}");
    }
    pair.assert_nobody_died().await;
}

#[actix::test]
async fn a_frozen_server_leaves_the_living_alone() {
    let pair = Pair::start().await;
    let pids =
        pair.db.client.query("select pid from pg_stat_activity where pid <> pg_backend_pid()", &[]).await;
    let pids = pids.unwrap().iter().map(|row| row.get::<_, i32>(0).to_string()).collect::<Vec<_>>();
    let postmaster = pair.server.pid().unwrap().to_string();
    let signal = |signal: &str| {
        let mut kill = std::process::Command::new("kill");
        // A session may have ended.
        drop(kill.arg(signal).arg(&postmaster).args(&pids).output().unwrap());
    };
    signal("-STOP");
    tokio::time::sleep(LONG).await;
    signal("-CONT");
    pair.assert_nobody_died().await;
}

#[actix::test]
async fn a_clock_that_is_set_leaves_the_living_alone() {
    let pair = Pair::start().await;
    // As if it had been set a day ahead, and then back again.
    for step in ["- interval '1 day'", "+ interval '1 day'"] {
        let step =
            format!("update pubsub.processes set beat_at = beat_at {step}, resumed_at = resumed_at {step}");
        pair.db.client.batch_execute(&step).await.unwrap();
        pair.until_both_beat().await;
        assert_eq!(processes(&pair.db).await, pair.ids, "{step}");
    }
    pair.assert_nobody_died().await;
}

#[actix::test]
async fn a_clock_that_is_set_back_hides_no_frozen_process() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "shared").await.unwrap();
    publish(&db.client, &Sms::new("held")).await.unwrap();
    assert_eq!(one.claim(1).await.unwrap().len(), 1);
    let frozen = format!(
        "update pubsub.processes set beat_at = beat_at + interval '1 day' where id = {}",
        one.process
    );
    db.client.batch_execute(&frozen).await.unwrap();
    let began = Instant::now();
    let (_survivor, mut received) = db.receive_attempts("shared").await;
    assert_eq!(received.next().await, ("held".into(), 2));
    // The silence counts from the survivor's start.
    assert!(began.elapsed() > Duration::from_secs(5), "{:?}", began.elapsed());
}

#[actix::test]
async fn a_clock_that_is_set_back_delays_no_retry() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    let one = SqlSubscriber::register(client, "one").await.unwrap();
    let other = db.count("select pubsub.register_process('host', 1, 'test')").await;
    publish(client, &Sms::new("fails")).await.unwrap();
    let token = one.claim(1).await.unwrap()[0].token;
    let retry = r#"[{"id": 1, "action": "retry", "delay": "1 hour"}]"#;
    let settle = format!("select pubsub.settle($1, $2, '{{}}', '{retry}')");
    client.execute(&settle, &[&one.process, &token]).await.unwrap();
    // As if the clock had been a day ahead until now.
    client
        .batch_execute(
            "update pubsub.mailbox set due_at = due_at + interval '1 day';
             update pubsub.processes set beat_at = beat_at + interval '1 day'",
        )
        .await
        .unwrap();
    for process in [one.process, other, one.process] {
        client.execute("select pubsub.beat($1)", &[&process]).await.unwrap();
        let due = "select count(*) from pubsub.mailbox \
                   where due_at between clock_timestamp() + interval '50 min' and clock_timestamp() + interval '70 min'";
        assert_eq!(db.count(due).await, 1);
    }
}

/// All processes wait for the first beat after the clock was set back.
#[actix::test]
async fn a_beat_after_a_step_back_waits_for_no_locked_delivery() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish(&db.client, &Sms::new("fails")).await.unwrap();
    publish(&db.client, &Sms::new("fails too")).await.unwrap();
    for _ in 0..2 {
        let claimed = one.claim(1).await.unwrap()[0];
        one.fail(claimed.token, claimed.id).await.unwrap();
    }
    // As if the clock had been a day ahead until now.
    let ahead = "update pubsub.mailbox set due_at = clock_timestamp() + interval '1 day';
                 update pubsub.processes set beat_at = beat_at + interval '1 day'";
    db.client.batch_execute(ahead).await.unwrap();
    let locking = connect(db.url()).await;
    let lock = "begin; select from pubsub.mailbox order by event_id limit 1 for update";
    locking.batch_execute(lock).await.unwrap();
    db.client.execute("select pubsub.beat($1)", &[&one.process]).await.unwrap();
    let moved = "select count(*) from pubsub.mailbox where due_at < clock_timestamp() + interval '10 min'";
    assert_eq!(db.count(moved).await, 1);
}

/// The one that notices lowers the times of the others, and a beat may wait for it meanwhile.
#[actix::test]
async fn a_beat_that_waits_while_the_clock_is_found_set_back_counts() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    let witness = db.count("select pubsub.register_process('host', 1, 'test')").await;
    let [reclaiming, beating] = [connect(db.url()).await, connect(db.url()).await];
    // As if the clock had been an hour ahead until now, and only the witness had beaten since.
    let ahead = format!(
        "update pubsub.processes set beat_at = beat_at + interval '1 hour' where id = {}",
        one.process
    );
    db.client.batch_execute(&ahead).await.unwrap();
    reclaiming.execute("select pubsub.beat($1)", &[&witness]).await.unwrap();
    reclaiming.batch_execute("begin; select pubsub.reclaim('6 s')").await.unwrap();
    let beats = async {
        let counts: bool = beating.query_one("select pubsub.beat($1)", &[&one.process]).await.unwrap().get(0);
        assert!(counts, "a living process was told that it is dead");
    };
    let commits = async {
        db.until_waiting(1).await;
        reclaiming.batch_execute("commit").await.unwrap();
    };
    tokio::join!(beats, commits);
    assert_eq!(processes(&db).await, [one.process, witness]);
}

/// How often a far process is cut off. Each time it needs more than a second to return.
const CUTS: usize = 5;

#[actix::test]
async fn a_far_process_has_the_time_to_return() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::far(db.url(), Duration::from_millis(80)).await;
    let ((sender, mut received), gate) = (probe(), Arc::new(Semaphore::new(0)));
    let far = gated(&proxy.url(db.url()), sender.clone(), gate.clone()).await;
    publish(&db.client, &Sms::new("slow")).await.unwrap();
    assert_eq!(received.next().await, ("slow".into(), 1));
    let handler = sending(sender, |sms: Delivery<Sms>| (sms.msg.clone(), sms.attempt()));
    let _near = db.pubsub().subscribe_fn("shared", handler).start().await.unwrap();
    let both = processes(&db).await;
    // It has measured its round trip, which the grace shows.
    let shown = format!(
        "select count(*) from pubsub.observed_processes where id = {} and grace between '2 s' and '3 s'",
        both[0]
    );
    let mut last = 0;
    // It is cut off again as soon as it is back, for longer than its grace in all, and the other process may never see it there.
    for _ in 0..CUTS {
        db.until_count(&shown, 1).await;
        let cut =
            "select session_pid, pg_terminate_backend(session_pid)::int from pubsub.processes where id = $1";
        let pid: i32 = db.client.query_one(cut, &[&both[0]]).await.unwrap().get(0);
        assert_ne!(pid, last);
        last = pid;
        let back =
            format!("select count(*) from pubsub.processes where id = {} and session_pid <> {last}", both[0]);
        db.until_count(&back, 1).await;
    }
    assert_eq!(processes(&db).await, both);
    gate.add_permits(1);
    db.until_settled().await;
    assert_eq!(received.rest(), [], "the event ran once");
    drop(far);
}

#[actix::test]
async fn a_living_process_takes_its_death_back() {
    let db = TestDatabase::new().await;
    let client = &db.client;
    client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    client.batch_execute("select pubsub.subscribe('sms', 'one', 3)").await.unwrap();
    client.batch_execute("select pubsub.subscribe('sms', 'once', 1)").await.unwrap();
    let register = "select pubsub.register_process('host', 1, 'test')";
    let (living, heir) = (db.count(register).await, db.count(register).await);
    client.batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 3)").await.unwrap();
    for subscription in [1, 2] {
        client.query("select pubsub.claim($1, $2, 3)", &[&subscription, &living]).await.unwrap();
    }
    db.count(&format!("select pubsub.end_process({living}, 'crash', 'silent')")).await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters where reason = 'crashed'").await, 3);
    // The heir is done with one suspect, and holds another.
    let suspect = "select token from pubsub.claim_mailbox(1, $1, 1, suspect => true)";
    let done: i64 = client.query_one(suspect, &[&heir]).await.unwrap().get(0);
    client.query("select pubsub.settle($1, $2)", &[&heir, &done]).await.unwrap();
    let held: i64 = client.query_one(suspect, &[&heir]).await.unwrap().get(0);

    let again = db.count(&format!("select pubsub.register_process('host', 1, 'test', {living})")).await;
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 0);
    let waiting = "select count(*) from pubsub.mailbox where (attempt, crashes) = (0, 0) and token is null";
    assert_eq!(db.count(waiting).await, 1 + 3);
    let leased =
        format!("select count(*) from pubsub.mailbox where (attempt, crashes) = (1, 0) and token = {held}");
    assert_eq!(db.count(&leased).await, 1);
    let claimed =
        client.query("select attempt from pubsub.claim_mailbox(2, $1, 10)", &[&again]).await.unwrap();
    assert_eq!(claimed.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1; 3]);
}
