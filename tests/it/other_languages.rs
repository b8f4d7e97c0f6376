//! Other languages publish with a plain insert, and subscribe with the SQL functions.

use pubsub::Delivery;
use pubsub_tests::{BellListener, Sms, SqlSubscriber, TestDatabase, connect, until};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;
use tokio_postgres::Client;

#[actix::test]
async fn a_plain_insert_from_psql_is_handled() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    // The insert as the demo writes it, with the search path that its URL sets.
    db.client.batch_execute("set search_path = public, pubsub").await.unwrap();
    let seed = r#"INSERT INTO db_events (channel, payload) VALUES ('sms', '{ "msg": "yoloooo!" }')"#;
    db.client.batch_execute(seed).await.unwrap();
    assert_eq!(received.next().await, "yoloooo!");
    db.client.batch_execute(r#"select pubsub.publish('sms', '{"msg": "by function"}')"#).await.unwrap();
    assert_eq!(received.next().await, "by function");
}

#[actix::test]
async fn a_rolled_back_insert_is_never_delivered() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    let insert = |msg| {
        format!(r#"insert into pubsub.db_events (channel, payload) values ('sms', '{{"msg": "{msg}"}}')"#)
    };
    db.client.batch_execute(&format!("begin; {}; rollback", insert("rolled back"))).await.unwrap();
    db.client.batch_execute(&format!("begin; {}; commit", insert("committed"))).await.unwrap();
    assert_eq!(received.next().await, "committed");
    db.until_settled().await;
    assert!(received.rest().is_empty());
}

#[actix::test]
async fn a_plain_sql_subscriber_shares_a_subscription_with_rust() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().subscribe_fn("one", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    assert!(pubsub.drain(std::time::Duration::from_secs(10)).await);
    pubsub::publish_all(&db.client, &["a", "b", "c"].map(Sms::new)).await.unwrap();

    let process = db.count("select pubsub.register_process('host', 1, 'other')").await;
    let claimed = db
        .client
        .query("select token, id, payload ->> 'msg' from pubsub.claim(1, $1, 2)", &[&process])
        .await
        .unwrap();
    assert_eq!(claimed.iter().map(|row| row.get::<_, String>(2)).collect::<Vec<_>>(), ["a", "b"]);
    let (token, a, b): (i64, i64, i64) = (claimed[0].get(0), claimed[0].get(1), claimed[1].get(1));
    let failed = format!(r#"[{{"id": {b}, "action": "retry", "delay": "1 ms", "error": "no"}}]"#);
    let settled: bool = db
        .client
        .query_one(
            "select pubsub.settle($1, $2, $3, $4::text::jsonb)",
            &[&process, &token, &vec![a], &failed],
        )
        .await
        .unwrap()
        .get(0);
    assert!(settled);

    let (_pubsub, mut received) = db.receive_attempts("one").await;
    let mut received = received.take(2).await;
    received.sort_unstable();
    assert_eq!(received, [("b".to_owned(), 2), ("c".to_owned(), 1)]);
}

#[actix::test]
async fn an_unknown_action_is_refused() {
    let db = TestDatabase::numbered().await;
    for sql in ["declare_channel('sms')", "subscribe('sms', 'one')", "publish('sms', '{}')"] {
        db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    db.client.batch_execute("select pubsub.register_process('host', 1, 'other')").await.unwrap();
    db.client.query("select * from pubsub.claim(1, 1, 1)", &[]).await.unwrap();
    let refused = db
        .client
        .batch_execute(r#"select pubsub.settle(1, 1, null, '[{"id": 1, "action": "rety"}]')"#)
        .await
        .unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().message(), "\"rety\" is not an action of a disposition");
    assert_eq!(db.count("select count(*) from pubsub.leases").await, 1, "and nothing was written");
}

#[actix::test]
async fn dispositions_must_name_different_events_of_the_lease() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    db.client.batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 3)").await.unwrap();
    let token = one.claim(3).await.unwrap()[0].token;
    let settle = async |acknowledged: &str, dispositions: &str| {
        let sql = format!("select pubsub.settle($1, $2, {acknowledged}, '{dispositions}')");
        let row = db.client.query_one(&sql, &[&one.process, &token]).await?;
        Ok::<bool, tokio_postgres::Error>(row.get(0))
    };
    for (acknowledged, dispositions) in [
        ("null", r#"[{"action": "retry"}]"#),
        ("'{}'", r#"[{"id": null, "action": "retry"}]"#),
        ("null", r#"[{"id": 1, "action": "retry"}, {"id": 99, "action": "retry"}]"#),
        ("null", r#"[{"id": 1, "action": "retry"}, {"id": 1, "action": "reject"}]"#),
        ("'{2}'", r#"[{"id": 1, "action": "retry"}, {"id": 1, "action": "retry"}]"#),
    ] {
        let refused = settle(acknowledged, dispositions).await.unwrap_err();
        assert_eq!(refused.code().unwrap().code(), "22023", "{dispositions}");
    }
    let held = "select cardinality(event_ids)::bigint from pubsub.leases";
    assert_eq!(db.count(held).await, 3, "nothing was written");

    // A settlement whose answer was lost is sent again with the rest.
    let first = r#"[{"id": 1, "action": "retry"}]"#;
    assert!(settle("'{}'", first).await.unwrap());
    assert!(settle("'{2}'", first).await.unwrap());
    assert_eq!(db.count(held).await, 1);
    assert!(settle("null", r#"[{"id": 3, "action": "reject"}]"#).await.unwrap());
    assert_eq!(db.count("select count(*) from pubsub.mailbox where attempt = 1").await, 1);
    assert_eq!(db.count("select count(*) from pubsub.dead_letters").await, 1);
}

/// A subscriber that calls `next`, in one session.
struct Caller {
    client: Client,
    subscription: i32,
    process: i64,
}

/// A row of `next`.
#[derive(Debug, Clone, PartialEq)]
struct Next {
    token: Option<i64>,
    id: Option<i64>,
    attempt: Option<i32>,
    crashes: Option<i32>,
    /// In seconds.
    wait: Option<f64>,
}

impl Caller {
    async fn new(db: &TestDatabase, lanes: i32) -> Self {
        let client = connect(db.url()).await;
        client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
        let subscribe = "select pubsub.subscribe('sms', 'one', lanes => $1)";
        let subscription = client.query_one(subscribe, &[&lanes]).await.unwrap().get(0);
        let register = "select pubsub.register_process('host', 1, 'other')";
        let process = client.query_one(register, &[]).await.unwrap().get(0);
        Self { client, subscription, process }
    }

    async fn next(&self) -> Vec<Next> {
        let sql =
            "select token, id, attempt, crashes, extract(epoch from wait)::float8 from pubsub.next($1, $2)";
        let rows = self.client.query(sql, &[&self.subscription, &self.process]).await.unwrap();
        let next = |row: &tokio_postgres::Row| Next {
            token: row.get(0),
            id: row.get(1),
            attempt: row.get(2),
            crashes: row.get(3),
            wait: row.get(4),
        };
        rows.iter().map(next).collect()
    }

    /// The ids of the next events; none if there is nothing to handle.
    async fn next_ids(&self) -> Vec<i64> {
        self.next().await.iter().filter_map(|next| next.id).collect()
    }

    /// How long to wait, where there is nothing to handle.
    async fn wait(&self) -> f64 {
        let next = self.next().await;
        assert!(next.len() == 1 && next[0].id.is_none(), "{next:?}");
        next[0].wait.unwrap()
    }

    async fn settle(&self, token: i64, id: i64, disposition: Option<&str>) -> bool {
        let done = if disposition.is_some() { vec![] } else { vec![id] };
        let disposition = disposition.map(|disposition| format!(r#"[{{"id": {id}, {disposition}}}]"#));
        let sql = "select pubsub.settle($1, $2, $3, $4::text::jsonb)";
        self.client.query_one(sql, &[&self.process, &token, &done, &disposition]).await.unwrap().get(0)
    }
}

#[actix::test]
async fn next_sleeps_so_that_the_bell_wakes_its_session() {
    let db = TestDatabase::new().await;
    let mut listener = BellListener::new(db.url()).await;
    let caller = Caller::new(&db, 0).await;
    assert!(caller.wait().await == 0.0, "the waiter row must be committed first");
    let topics = "select string_agg(t, ' ' order by t) from pg_listening_channels() t";
    let topics: String = caller.client.query_one(topics, &[]).await.unwrap().get(0);
    assert_eq!(topics, format!("pubsub pubsub_{}", caller.process));
    assert!(caller.wait().await == 1.0);
    let publish = r#"select pubsub.publish('sms', '{"msg": "hello"}')"#;
    db.client.batch_execute(publish).await.unwrap();
    assert_eq!(listener.rung().await, [format!("sms {}", caller.process)]);
    let next = caller.next().await;
    assert_eq!((next[0].id, next[0].attempt, next[0].wait), (Some(1), Some(1), None));
    assert_eq!(db.count("select count(*) from pubsub.waiters").await, 0, "it is awake");

    // Nothing is claimed before it is settled, and a retry is not waited for longer than it takes.
    let again = r#""action": "retry", "delay": "300 ms", "error": "no""#;
    assert!(caller.settle(next[0].token.unwrap(), 1, Some(again)).await);
    while caller.wait().await == 0.0 {}
    let wait = caller.wait().await;
    assert!(wait > 0.0 && wait <= 0.3, "{wait}");
    tokio::time::sleep(Duration::from_secs_f64(wait)).await;
    let next = caller.next().await;
    assert_eq!((next[0].id, next[0].attempt), (Some(1), Some(2)));
    assert!(caller.settle(next[0].token.unwrap(), 1, None).await);

    // A publisher that has looked for waiters already will not ring.
    while caller.wait().await == 0.0 {}
    db.client.batch_execute(&format!("begin; {publish}")).await.unwrap();
    let wait = caller.wait().await;
    assert!((0.01..=0.4).contains(&wait), "somebody is publishing: {wait}");
    db.client.batch_execute("commit").await.unwrap();
    assert_eq!(caller.next_ids().await, [2]);
}

#[actix::test]
async fn next_gives_suspects_alone() {
    let db = TestDatabase::new().await;
    let caller = Caller::new(&db, 0).await;
    db.client.batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 20)").await.unwrap();
    let next = caller.next().await;
    assert_eq!(next.len(), 10);
    for row in next {
        let disposition = match row.id {
            Some(1) => Some(r#""action": "crash""#),
            Some(2) => Some(r#""action": "retry""#),
            _ => None,
        };
        assert!(caller.settle(row.token.unwrap(), row.id.unwrap(), disposition).await);
    }
    let next = caller.next().await;
    assert_eq!(
        next.iter().map(|row| (row.id, row.attempt, row.crashes)).collect::<Vec<_>>(),
        [(Some(1), Some(2), Some(1))]
    );
}

#[actix::test]
async fn next_starves_neither_the_log_nor_the_mailbox() {
    let db = TestDatabase::new().await;
    let caller = Caller::new(&db, 0).await;
    db.client
        .batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 1000)")
        .await
        .unwrap();
    for row in caller.next().await {
        assert!(caller.settle(row.token.unwrap(), row.id.unwrap(), Some(r#""action": "retry""#)).await);
    }
    let mut sources = BTreeSet::new();
    for _ in 0..60 {
        let next = caller.next().await;
        sources.insert(next[0].attempt);
        for row in next {
            let again = (row.attempt > Some(1)).then_some(r#""action": "snooze""#);
            assert!(caller.settle(row.token.unwrap(), row.id.unwrap(), again).await);
        }
    }
    assert_eq!(sources, [Some(1), Some(2)].into(), "both have something all the time");
}

#[actix::test]
async fn next_tells_what_a_caller_does_wrong() {
    let db = TestDatabase::new().await;
    let caller = Caller::new(&db, 0).await;
    let process = caller.process;
    let refused = async |sql: &str| {
        let refused = caller.client.batch_execute(sql).await.unwrap_err().code().unwrap().code().to_owned();
        caller.client.batch_execute("rollback").await.unwrap();
        refused
    };
    let next = format!("select * from pubsub.next(1, {process})");
    assert_eq!(refused(&format!("begin; select pubsub.publish('sms', '{{}}'); {next}")).await, "PB003");
    assert_eq!(refused("select * from pubsub.next(1, 7)").await, "PB006");
    assert_eq!(refused(&format!("select * from pubsub.next(7, {process})")).await, "PB004");
}

#[actix::test]
async fn tidy_takes_over_from_the_dead_and_maintains_the_log() {
    let db = TestDatabase::new().await;
    let caller = Caller::new(&db, 0).await;
    let dead = Caller::new(&db, 0).await;
    db.client.batch_execute("select pubsub.publish('sms', '{}')").await.unwrap();
    assert_eq!(dead.next_ids().await, [1]);
    let id = dead.process;
    dead.client.query("select pubsub.beat($1)", &[&id]).await.unwrap();
    drop(dead);
    let tidy = async |absent: &[i64]| -> Vec<i64> {
        caller.client.query_one("select pubsub.tidy($1)", &[&absent]).await.unwrap().get(0)
    };
    while tidy(&[]).await.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let left = format!("select count(*) from pubsub.processes where id = {id}");
    assert_eq!(db.count(&left).await, 1, "it may be back in a moment");
    assert_eq!(tidy(&[id]).await, [] as [i64; 0]);
    assert_eq!(db.count(&left).await, 0);
    let next = caller.next().await;
    assert_eq!((next[0].id, next[0].crashes), (Some(1), Some(1)), "a suspect");

    // Partitions are made, once in a while.
    let ids = "select count(*) from pubsub.partitions";
    let partitions = db.count(ids).await;
    let last = "select setval('pubsub.db_events_id_seq', (select max(end_id) - 2 from pubsub.partitions))";
    db.client.batch_execute(last).await.unwrap();
    tidy(&[]).await;
    assert_eq!(db.count(ids).await, partitions, "it was tidied a moment ago");
    caller.client.batch_execute("set pubsub.tidied_at = '-infinity'").await.unwrap();
    tidy(&[]).await;
    assert!(db.count(ids).await > partitions);
}

/// The program of docs/sql-contract.md, and a handler that fails twice.
fn program() -> String {
    let document = include_str!("../../docs/sql-contract.md");
    let program = document.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let lines = program.lines().filter(|line| !line.is_empty()).count();
    assert!(lines <= 40, "{lines} lines");
    format!("{program}\n{HANDLER}")
}

const HANDLER: &str = r#"
import sys

def handle(db, payload):
    n = payload["n"]
    db.execute("insert into public.handled (n, key) values (%s, %s)", [n, payload["key"]])
    if n in (7, 58) and not db.execute("select 1 from public.failed where n = %s", [n]).fetchone():
        with connect() as other:
            other.execute("insert into public.failed values (%s)", [n])
        raise ValueError("the first time, in \udc80 a file's name that is not UTF-8\0")
    time.sleep(0.01)

run("sms", "one", handle, int(sys.argv[1]))
"#;

async fn run_the_documents_program(lanes: i32) -> TestDatabase {
    let python = std::env::var("PUBSUB_PYTHON").expect("PUBSUB_PYTHON names a Python with psycopg");
    let db = TestDatabase::new().await;
    for sql in [
        "create table public.handled (place bigint generated always as identity, n integer, key text)",
        "create table public.failed (n integer)",
        "select pubsub.declare_channel('sms')",
        &format!("select pubsub.subscribe('sms', 'one', lanes => {lanes})"),
    ] {
        db.client.batch_execute(sql).await.unwrap();
    }
    let publish = "select pubsub.publish('sms', jsonb_build_object('n', n, 'key', n % 5), (n % 5)::text)
                     from generate_series(1, 300) n";
    db.client.batch_execute(publish).await.unwrap();
    let (program, lanes) = (program(), lanes.to_string());
    let start = || {
        Command::new(&python).args(["-c", &program, &lanes]).env("DATABASE_URL", db.url()).spawn().unwrap()
    };
    let mut processes = [start(), start()];
    until(&db.client, "select count(*) > 100 from public.handled").await;
    // SIGKILL, with an event at work.
    processes[0].kill().unwrap();
    db.until_count("select count(distinct n) from public.handled", 300).await;
    db.until_settled().await;
    for mut process in processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(
        db.count("select count(*) from public.handled").await,
        300,
        "what they wrote, they wrote once"
    );
    assert_eq!(db.count("select count(*) from public.failed").await, 2);
    db
}

#[actix::test]
#[ignore = "needs PUBSUB_PYTHON: a Python with psycopg 3"]
async fn the_documents_program_survives_a_kill_unordered() {
    run_the_documents_program(0).await;
}

#[actix::test]
#[ignore = "needs PUBSUB_PYTHON: a Python with psycopg 3"]
async fn the_documents_program_survives_a_kill_in_order() {
    let db = run_the_documents_program(4).await;
    let swapped = "select count(*)
                     from (select n, lag(n) over (partition by key order by place) as before from public.handled) h
                    where before > n";
    assert_eq!(db.count(swapped).await, 0);
}
