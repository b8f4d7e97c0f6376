//! An old snapshot, which keeps all removed row versions, makes no statement of a process's day read more pages.

use pubsub_tests::{TestDatabase, connect};
use tokio_postgres::Client;

/// The days' work under the old snapshot.
const ROUNDS: u32 = 2_000;
/// By how much the pages of a statement may grow: the indexes that it descends grow a level. A statement that reads what an old
/// snapshot keeps reads hundreds of pages after this many rounds.
const MOST_GROWTH: f64 = 2.0;

/// The statements of a process's day: of an unordered subscription, of an ordered one, and of a publisher.
const STATEMENTS: [&str; 17] = [
    "select pubsub.beat(1)",
    "select pubsub.absent_processes()",
    "select pubsub.reclaim('1 hour')",
    "select pubsub.start_waiting(1, 1, '10 s')",
    "select pubsub.start_waiting(2, 1, '10 s')",
    "select pubsub.no_publisher_at_work(1)",
    "select pubsub.poll('{1, 2}', 1)",
    "select pubsub.poll('{}', 1, '{1, 2}')",
    "select pubsub.report_awake(1, 1, '1 s')",
    "select pubsub.stop_waiting(1, 1)",
    "select pubsub.stop_waiting(2, 1)",
    "select pubsub.publish('sms', '{}', 'key')",
    "select pubsub.claim(1, 1, 10)",
    "select pubsub.claim(2, 1, 10)",
    "select pubsub.claim_mailbox(2, 1, 10)",
    "select pubsub.next_due('{1, 2}', 1)",
    "select pubsub.settle(1, max(l.token)) from pubsub.leases l",
];

/// One round of work for both subscriptions, each statement in a transaction of its own. A waiter row counts for a moment only,
/// because statements may look at the removed rows that would still count.
const WORK: &str = "
    create procedure public.work(rounds integer) language plpgsql as $$
    declare
        held bigint;
    begin
        for round in 1..rounds loop
            for subscription in 1..2 loop
                perform pubsub.start_waiting(subscription, 1, '50 ms'); commit;
                perform pubsub.publish('sms', '{}', 'key'); commit;
                perform pubsub.report_awake(subscription, 1, '50 ms'); commit;
                held := (select max(c.token) from pubsub.claim(subscription, 1, 10) c); commit;
                perform pubsub.settle(1, held); commit;
                perform pubsub.stop_waiting(subscription, 1); commit;
                perform pubsub.beat(subscription); commit;
            end loop;
        end loop;
    end $$";

/// Returns the pages that a statement visits: the least of several runs, because a session's first run also reads the
/// catalogs, as does the next one after autovacuum has looked at a table.
async fn pages(client: &Client, statement: &str) -> f64 {
    let mut pages = f64::INFINITY;
    for _ in 0..4 {
        client.batch_execute("begin").await.unwrap();
        let explain = format!("explain (analyze, buffers, timing off, format json) {statement}");
        let plan: serde_json::Value = client.query_one(&explain, &[]).await.unwrap().get(0);
        client.batch_execute("rollback").await.unwrap();
        let plan = &plan[0]["Plan"];
        let visited =
            ["Shared Hit Blocks", "Shared Read Blocks"].map(|blocks| plan[blocks].as_f64().unwrap());
        pages = pages.min(visited.iter().sum());
    }
    pages
}

#[actix::test]
async fn no_statement_reads_more_pages_under_an_old_snapshot() {
    let db = TestDatabase::numbered().await;
    for sql in [
        "declare_channel('sms')",
        "register_process('host', 1, 'test') from generate_series(1, 10)",
        "subscribe('sms', 'unordered')",
        "subscribe('sms', 'ordered', lanes => 1)",
    ] {
        db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    db.client.batch_execute(WORK).await.unwrap();
    db.client.batch_execute("set synchronous_commit = off").await.unwrap();
    let old = connect(db.url()).await;
    old.batch_execute("begin isolation level repeatable read; select from pubsub.channels").await.unwrap();

    let measure = async || {
        db.client.batch_execute("call public.work(20)").await.unwrap();
        // Something to claim, and something to settle.
        db.client.batch_execute("select pubsub.publish('sms', '{}', 'key')").await.unwrap();
        db.client.batch_execute("select from pubsub.claim(2, 1, 10)").await.unwrap();
        db.client.batch_execute("select pubsub.publish('sms', '{}', 'key')").await.unwrap();
        let mut all = Vec::new();
        for statement in STATEMENTS {
            all.push(pages(&db.client, statement).await);
        }
        db.client.batch_execute("select pubsub.settle(1, l.token) from pubsub.leases l").await.unwrap();
        all
    };
    let before = measure().await;
    db.client.batch_execute(&format!("call public.work({ROUNDS})")).await.unwrap();
    let after = measure().await;
    for ((statement, before), after) in STATEMENTS.iter().zip(before).zip(after) {
        // A few pages are noise.
        assert!(
            after <= before * MOST_GROWTH + 5.0,
            "{before} pages, then {after} after {ROUNDS} rounds: {statement}"
        );
    }
    old.batch_execute("commit").await.unwrap();
}
