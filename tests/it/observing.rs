//! The queries of observers stay cheap with many subscriptions: nothing is done for each of them but to read its own rows.

use pubsub_tests::TestDatabase;

const SUBSCRIPTIONS: i64 = 1_000;
const CHANNELS: i64 = 20;
/// Unread events of each channel: more than an observer counts.
const EVENTS: i64 = 1_500;
/// The number that an observer counts of them, for each lane.
const COUNTED: i64 = 1_000;

#[actix::test]
async fn observing_a_thousand_subscriptions_compiles_nothing() {
    let db = TestDatabase::new().await;
    let run = async |sql: &str| db.client.batch_execute(sql).await.unwrap();
    run(&format!("select pubsub.declare_channel('c' || n) from generate_series(1, {CHANNELS}) n")).await;
    for n in 1..=SUBSCRIPTIONS {
        run(&format!("select pubsub.subscribe('c{}', 's{n}')", n % CHANNELS + 1)).await;
    }
    let events = CHANNELS * EVENTS;
    run(&format!(
        "insert into pubsub.db_events (channel, payload)
         select 'c' || n % {CHANNELS} + 1, '1' from generate_series(1, {events}) n"
    ))
    .await;
    run("set jit = on; set plan_cache_mode = force_custom_plan").await;
    // Each counted event may be on a page of its own, in the index and in the log.
    let most_pages = SUBSCRIPTIONS * (2 * COUNTED + 100);
    for query in [
        "select * from pubsub.observed_subscriptions order by unread desc",
        "select * from pubsub.observed_lanes order by 1, 2, 3",
        "select * from pubsub.observed_processes order by id",
        "select * from pubsub.observed_waiters",
        "select * from pubsub.unread_subscriptions('1 hour')",
    ] {
        let explain = format!("explain (analyze, buffers, timing off, format json) {query}");
        let plan: serde_json::Value = db.client.query_one(&explain, &[]).await.unwrap().get(0);
        assert!(plan[0].get("JIT").is_none(), "{query} is compiled: {:#}", plan[0]["JIT"]);
        let pages = plan[0]["Plan"]["Shared Hit Blocks"].as_i64().unwrap();
        assert!(pages <= most_pages, "{pages} pages: {query}");
    }
    let all = "select count(*) from pubsub.observed_subscriptions where unread = 1000 and leased = 0";
    assert_eq!(db.count(all).await, SUBSCRIPTIONS);
    assert_eq!(db.count("select pubsub.lag('c1', 's1000')").await, EVENTS, "on request it counts further");
}
