//! Hot statements stay cheap, whatever the tables contain and whatever the planner believes they contain.
//!
//! `auto_explain` reports the plans that the server used, also those of statements inside functions. The tests count rows
//! and pages and measure no time, because counts are the same on a slow machine.

use pubsub_tests::TestDatabase;
use serde_json::Value;
use std::cell::Cell;
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// The number of events in the log, in the mailbox and among the dead letters. Set the variable to a million for a long
/// run.
fn rows() -> u32 {
    let rows = std::env::var("PUBSUB_PLAN_ROWS").ok();
    rows.map_or(200_000, |rows| rows.parse().expect("PUBSUB_PLAN_ROWS is a number"))
}

/// The size of a claim.
const BATCH: u64 = 100;

/// The most rows that one node of a plan may visit, including those that it discards, and the most pages that one statement
/// may touch. Both are far below the cost of reading a large table.
const MOST_ROWS: u64 = 50 * BATCH;
const MOST_PAGES: u64 = 200 * BATCH;
/// The most pages that a statement may touch besides, for each event that it parks. A claim may park many batches, and how
/// many depends on the lanes that it takes first.
const MOST_PAGES_PER_PARKED: u64 = 25;
/// The most pages that a statement for one row may touch.
const MOST_PAGES_FOR_ONE: u64 = BATCH;

/// A session that receives the plan of each of its statements.
struct ExplainedSession {
    client: Client,
    plans: Arc<Mutex<Vec<Value>>>,
}

impl ExplainedSession {
    async fn connect(url: &str) -> Self {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let plans = Arc::new(Mutex::new(Vec::new()));
        let received = plans.clone();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notice(notice) = message
                    && let Some(start) = notice.message().find('{')
                    && let Ok(plan) = serde_json::from_str(&notice.message()[start..])
                {
                    received.lock().unwrap().push(plan);
                }
            }
        });
        let settings = "
            load 'auto_explain';
            set auto_explain.log_analyze = on;
            set auto_explain.log_buffers = on;
            set auto_explain.log_timing = off;
            set auto_explain.log_nested_statements = on;
            set auto_explain.log_format = json;
            set auto_explain.log_level = notice;
            set client_min_messages = notice";
        client.batch_execute(settings).await.unwrap();
        Self { client, plans }
    }

    /// Runs a statement, checks that no node visited too many rows, and returns its first column.
    async fn run(&self, when: &str, sql: &str) -> Vec<i64> {
        let sql = format!("select r::bigint from ({sql}) as q (r)");
        self.client.batch_execute("set auto_explain.log_min_duration = 0").await.unwrap();
        self.plans.lock().unwrap().clear();
        let rows =
            self.client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{when}: {sql}: {error:?}"));
        self.client.batch_execute("set auto_explain.log_min_duration = -1").await.unwrap();
        let plans = std::mem::take(&mut *self.plans.lock().unwrap());
        assert!(!plans.is_empty(), "no plan arrived for {sql}");
        let rows: Vec<i64> = rows.iter().filter_map(|row| row.get(0)).collect();
        // How many leases there are to return depends on the lanes too.
        let batches =
            if sql.contains("return_unknown") { rows[0].unsigned_abs().div_ceil(BATCH).max(1) } else { 1 };
        let most_pages = MOST_PAGES * batches + MOST_PAGES_PER_PARKED * plans.iter().map(parked).sum::<u64>();
        for plan in plans {
            let text = plan["Query Text"].as_str().unwrap_or_default();
            let root = &plan["Plan"];
            let pages = number(root, "Shared Hit Blocks") + number(root, "Shared Read Blocks");
            let most = if text.trim_end().ends_with("limit 1") { MOST_PAGES_FOR_ONE } else { most_pages };
            assert!(pages <= most, "{when}: {pages} pages in\n{text}\nof {sql}\n{root:#}");
            inspect(root, &|node, visited| {
                let kind = node["Node Type"].as_str().unwrap_or_default();
                assert!(
                    visited <= MOST_ROWS,
                    "{when}: {kind} visited {visited} rows in\n{text}\nof {sql}\n{root:#}"
                );
            });
        }
        rows
    }
}

fn number(node: &Value, name: &str) -> u64 {
    node[name].as_f64().unwrap_or_default() as u64
}

/// The number of events that the statement of a plan parked. Other statements write to the mailbox too, but return nothing.
fn parked(plan: &Value) -> u64 {
    let text = plan["Query Text"].as_str().unwrap_or_default();
    let parked = Cell::new(0);
    if text.contains("insert into pubsub.mailbox") {
        inspect(&plan["Plan"], &|node, rows| {
            if node["Node Type"] == "ModifyTable" {
                parked.set(parked.get() + rows);
            }
        });
    }
    parked.get()
}

/// Reports how many rows each node visited. The pairs that a join of two batches compares are not counted.
fn inspect(node: &Value, report: &dyn Fn(&Value, u64)) {
    let filtered = ["Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"];
    let visited: u64 = filtered.iter().map(|name| number(node, name)).sum();
    report(node, visited * number(node, "Actual Loops").max(1));
    for child in node["Plans"].as_array().into_iter().flatten() {
        inspect(child, report);
    }
}

/// Creates three subscriptions: one with every event unread, one that has read everything, and an ordered one with a
/// failing key.
const SUBSCRIPTIONS: [&str; 11] = [
    "select pubsub.declare_channel('sms')",
    "select pubsub.declare_channel('email')",
    "select pubsub.subscribe('sms', 'full')",
    "select pubsub.subscribe('email', 'idle')",
    "select pubsub.subscribe('sms', 'ordered', lanes => 4)",
    "select pubsub.register_process('host', 1, 'test')",
    "select pubsub.register_process('host', 2, 'test')",
    "alter table pubsub.mailbox set (autovacuum_enabled = false)",
    "alter table pubsub.dead_letters set (autovacuum_enabled = false)",
    "alter table pubsub.dedupe_keys set (autovacuum_enabled = false)",
    "do $$
     declare partition regclass;
     begin
         for partition in select i.inhrelid::regclass from pg_inherits i where i.inhparent = 'pubsub.db_events'::regclass loop
             execute format('alter table %s set (autovacuum_enabled = false)', partition);
         end loop;
     end $$",
];

async fn prepared() -> TestDatabase {
    let db = TestDatabase::numbered().await;
    for statement in SUBSCRIPTIONS {
        db.client.batch_execute(statement).await.unwrap();
    }
    db
}

async fn load(client: &Client) {
    let rows = rows();
    let load = format!(
        "insert into pubsub.db_events (channel, key, payload)
         select case when n % 10 = 0 then 'email' else 'sms' end, 'key' || n % 1000, '{{}}' from generate_series(1, {rows}) n;

         insert into pubsub.mailbox (subscription, lane, event_id, channel, key, payload, version, published_at, attempt, panics,
                                     crashes, due_at, last_error)
         select s.id, 0, -n, 'sms', 'key' || n % 1000, '{{}}', 1, now(), 1, 0, case when n % 100 = 0 then 1 else 0 end,
                now() + (n - {rows} / 2) * interval '1 second', 'no'
           from pubsub.subscriptions s, generate_series(1, {rows}) n where s.name = 'full';

         insert into pubsub.mailbox (subscription, lane, event_id, channel, key, payload, version, published_at, attempt, panics,
                                     crashes, due_at, last_error)
         select s.id, pubsub.lane_of('bad', -n, s.lanes), -n, 'sms', 'bad', '{{}}', 1, now(), 0, 0, 0,
                case when n = {rows} then now() else 'infinity' end, 'no'
           from pubsub.subscriptions s, generate_series(1, {rows}) n where s.name = 'ordered';

         insert into pubsub.dedupe_keys (channel, key, event_id, published_at)
         select c.id, 'key' || n, n, now() - n % 2 * interval '2 days'
           from pubsub.channels c, generate_series(1, {rows}) n where c.name = 'sms'
         on conflict do nothing;
         insert into pubsub.mailbox (subscription, lane, event_id, channel, payload, version, published_at, attempt, panics,
                                     crashes, due_at, needs)
         select s.id, 0, -n - {rows}, 'sms', '{{}}', 2 + n % 2, now(), 0, 0, case when n % 100 = 0 then 1 else 0 end,
                now() + (n - {rows} / 2) * interval '1 second', 2 + n % 2
           from pubsub.subscriptions s, generate_series(1, {rows}) n where s.name = 'full';

         insert into pubsub.mailbox (subscription, lane, event_id, channel, key, payload, version, published_at, attempt, panics,
                                     crashes, due_at, needs)
         select s.id, pubsub.lane_of('new', -n, s.lanes), -n - {rows}, 'sms', 'new', '{{}}', 2, now(), 0, 0, 0,
                case when n = {rows} then now() else 'infinity' end, 2
           from pubsub.subscriptions s, generate_series(1, {rows}) n where s.name = 'ordered';

         insert into pubsub.dead_letters (subscription, event_id, channel, payload, version, published_at, attempt, panics,
                                          crashes, reason)
         select s.id, -n - {rows}, 'sms', '{{}}', 1, now(), 20, 0, 0, 'exhausted'
           from pubsub.subscriptions s, generate_series(1, {rows}) n where s.name = 'full'"
    );
    client.batch_execute(&load).await.unwrap();
}

/// Runs the statements of a process's day, and those that take over from a dead process.
async fn run_all(session: &ExplainedSession, when: &str) {
    let run = async |sql: &str| session.run(when, sql).await;
    run("select pubsub.beat(1)::int").await;
    run("select pubsub.beat(2)::int").await;
    run("select pubsub.publish('sms', '{}', 'key1')").await;
    for key in ["'key1'", "'key2'", "gen_random_uuid()::text"] {
        run(&format!("select id from pubsub.publish_once('sms', '{{}}', {key})")).await;
    }
    let keys = format!("'{{}}'), array_agg('key' || n % 30)) from generate_series(1, {BATCH}) n");
    run(&format!("select pubsub.publish_all_once('sms', array_agg(jsonb {keys}")).await;
    run(&format!("select pubsub.forget_dedupe_keys({BATCH})")).await;
    for subscription in [1, 2, 3] {
        let claim = format!("select token from pubsub.claim({subscription}, 1, {BATCH}, start_limit => 10)");
        let mut tokens = run(&claim).await;
        run(&claim).await;
        tokens.dedup();
        for token in tokens.iter().take(1) {
            run(&format!(
                "select pubsub.settle(1, {token}, null, (select jsonb_agg(jsonb_build_object('id', i, 'action', 'retry', 'delay', '1 s'))
                   from pubsub.leases l, unnest(l.event_ids[1:5]) i where l.token = {token}))::int"
            ))
            .await;
        }
        for suspect in ["false", "true"] {
            let claim =
                format!("select token from pubsub.claim_mailbox({subscription}, 1, {BATCH}, {suspect}, 10");
            // The versions that the process knows: all, none of those that wait, some of them.
            for knows in [")", ", 1)", ", 2)"] {
                for token in run(&format!("{claim}{knows}")).await.iter().take(1) {
                    run(&format!("select pubsub.settle(1, {token})::int")).await;
                }
            }
        }
        run(&format!("select count(pubsub.start_waiting({subscription}, 1, '10 s'))")).await;
        run(&format!("select pubsub.no_publisher_at_work({subscription})::int")).await;
        run(&format!("select count(*) from pubsub.poll('{{1, 2, 3}}', 1, '{{{subscription}}}')")).await;
        run(&format!("select count(pubsub.report_awake({subscription}, 1, '10 s'))")).await;
        run(&format!("select count(pubsub.stop_waiting({subscription}, 1))")).await;
        run(&format!("select token from pubsub.claim({subscription}, 1, {BATCH})")).await;
        run(&format!("select pubsub.return_unknown({subscription}, 1, '{{}}')")).await;
        run(&format!("select token from pubsub.claim({subscription}, 2, {BATCH}, start_limit => 10)")).await;
    }
    run("select extract(epoch from due_in) from pubsub.next_due('{1, 2, 3}', 1)").await;
    run("select extract(epoch from due_in) from pubsub.next_due('{1, 2, 3}', 1, '{1, 1, 1}')").await;
    run("select extract(epoch from due_in) from pubsub.next_due('{1, 2, 3}', 2, '{3, 3, 3}')").await;
    run("select registered from pubsub.absent_processes()").await;
    run("select count(*) from pubsub.list_dead_letters('sms', 'full')").await;
    run(&format!("select pubsub.purge_dead_letters('sms', 'full', batch => {BATCH})")).await;
    run(&format!("select pubsub.redrive('sms', 'full', batch => {BATCH})")).await;
    run("select pubsub.orphan_leases(2, 'crash', 'it died')").await;
    run("select pubsub.reclaim_strays()").await;
    run("select pubsub.subscribe('sms', 'full')").await;
}

#[actix::test]
async fn hot_statements_visit_no_more_rows_than_they_return() {
    let db = prepared().await;
    // This session keeps a plan that was made for empty tables.
    let session = ExplainedSession::connect(db.url()).await;
    run_all(&session, "empty").await;
    load(&db.client).await;
    run_all(&session, "right after the load, with the plans of the empty tables").await;
    let fresh = ExplainedSession::connect(db.url()).await;
    run_all(&fresh, "right after the load").await;
    db.client.batch_execute("vacuum analyze").await.unwrap();
    let fresh = ExplainedSession::connect(db.url()).await;
    run_all(&fresh, "analyzed").await;
    run_all(&session, "analyzed, with the plans of the empty tables").await;
}

#[actix::test]
async fn events_of_a_long_transaction_are_found_by_its_id() {
    let db = prepared().await;
    let mut slow = pubsub_tests::connect(db.url()).await;
    let slow = slow.transaction().await.unwrap();
    slow.batch_execute("select pubsub.publish('sms', '{}') from generate_series(1, 50)").await.unwrap();
    load(&db.client).await;
    let session = ExplainedSession::connect(db.url()).await;
    // Moves the slow subscription past its window.
    db.client.batch_execute("select pubsub.seek('sms', 'full', 'now')").await.unwrap();
    slow.commit().await.unwrap();
    let found = session.run("with stragglers", &format!("select id from pubsub.claim(1, 1, {BATCH})")).await;
    assert_eq!(found.len(), 50);
}
