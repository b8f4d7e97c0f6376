//! A subscription with nothing to read writes nothing and draws no transaction id, whatever else the database does.

use pubsub_tests::{TestDatabase, connect};
use tokio_postgres::Client;

/// Subtransactions of one transaction, as of a bulk load with exception blocks.
const SAVEPOINTS: u32 = 20_000;

/// Claims in a transaction. Returns how many events it claimed, and whether it drew a transaction id.
async fn claim(client: &Client, subscription: i32, polling: bool) -> (usize, bool) {
    client.batch_execute("begin").await.unwrap();
    let sql = "select id from pubsub.claim($1, 1, 100, polling => $2)";
    let events = client.query(sql, &[&subscription, &polling]).await.unwrap().len();
    let writes = "select pg_current_xact_id_if_assigned() is not null";
    let writes = client.query_one(writes, &[]).await.unwrap().get(0);
    client.batch_execute("commit").await.unwrap();
    (events, writes)
}

/// Creates an unordered subscription and an ordered one of a quiet channel, and claims from both once.
async fn quiet() -> TestDatabase {
    let db = TestDatabase::numbered().await;
    for sql in [
        "declare_channel('quiet')",
        "declare_channel('busy')",
        "register_process('host', 1, 'test')",
        "subscribe('quiet', 'unordered')",
        "subscribe('quiet', 'ordered', lanes => 8)",
    ] {
        db.client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    for subscription in [1, 2] {
        claim(&db.client, subscription, false).await;
    }
    db
}

async fn publish(client: &Client, channel: &str, count: u32) {
    let sql = format!("select pubsub.publish('{channel}', '{{}}', 'key') from generate_series(1, {count})");
    client.batch_execute(&sql).await.unwrap();
}

#[actix::test]
async fn polls_of_a_quiet_channel_draw_no_transaction_id() {
    let db = quiet().await;
    let idle = async |when: &str| {
        for (subscription, polling) in [(1, true), (2, true), (1, false), (2, false)] {
            assert_eq!(claim(&db.client, subscription, polling).await, (0, false), "{when}: {subscription}");
        }
    };
    idle("nothing is published").await;
    publish(&db.client, "busy", 3_000).await;
    idle("another channel is published on").await;
    // Each boundary is taken beside a publisher of another channel, which ends afterwards.
    let publisher = connect(db.url()).await;
    for round in 0..3 {
        publisher.batch_execute("begin").await.unwrap();
        publish(&publisher, "busy", 1).await;
        publish(&db.client, "quiet", 1).await;
        for subscription in [1, 2] {
            assert_eq!(claim(&db.client, subscription, false).await, (1, true), "round {round}");
        }
        idle("a publisher of another channel is at work").await;
        publisher.batch_execute("commit").await.unwrap();
        idle("it has ended").await;
    }
    // The other lanes have no event of their own among the new ones.
    publish(&db.client, "quiet", 5).await;
    assert_eq!(claim(&db.client, 1, true).await, (5, true));
    assert_eq!(claim(&db.client, 2, true).await, (5, true));
    idle("everything is read").await;
    // The publisher rolls back, and its ids are lost.
    publisher.batch_execute("begin").await.unwrap();
    publish(&publisher, "quiet", 100).await;
    idle("a publisher of the channel is idle in its transaction").await;
    publisher.batch_execute("rollback").await.unwrap();
    idle("it has rolled back").await;
}

#[actix::test]
async fn lanes_without_events_fall_behind_by_a_bounded_number() {
    let db = quiet().await;
    // All of one key, so that seven of eight lanes have nothing to read.
    for _ in 0..40 {
        publish(&db.client, "quiet", 100).await;
        let mut claimed = 0;
        while claimed < 100 {
            claimed += claim(&db.client, 2, false).await.0;
        }
    }
    while claim(&db.client, 2, false).await.1 {}
    let behind = "select max(pubsub.log_sequence() - c.read_sequence) from pubsub.positions(2) c";
    let behind = db.count(behind).await;
    assert!(behind <= 1_000, "a lane is {behind} ids behind");
}

#[actix::test]
async fn subtransactions_do_not_slow_the_claims_beside_them() {
    let db = quiet().await;
    let writer = connect(db.url()).await;
    let savepoints = format!(
        "create table public.etl (n integer);
         begin;
         do $$ begin
             for n in 1..{SAVEPOINTS} loop
                 begin insert into public.etl values (n); exception when others then null; end;
             end loop;
         end $$"
    );
    writer.batch_execute(&savepoints).await.unwrap();
    // The boundary that this claim takes has all of them between its xmax and its fence.
    publish(&db.client, "quiet", 1).await;
    assert_eq!(claim(&db.client, 1, false).await.0, 1);
    let wide =
        "select max(c.read_fence - pg_snapshot_xmax(c.read_snapshot)::text::bigint) from pubsub.cursors c";
    let wide = db.count(wide).await;
    publish(&writer, "quiet", 1).await;
    writer.batch_execute("commit").await.unwrap();
    let explain = "explain (analyze, buffers, format json) select from pubsub.claim(1, 1, 100)";
    for expected in [1.0, 0.0, 0.0] {
        let plan: serde_json::Value = db.client.query_one(explain, &[]).await.unwrap().get(0);
        let plan = &plan[0]["Plan"];
        assert_eq!(plan["Actual Rows"].as_f64(), Some(expected), "{plan:#}");
        let pages = plan["Shared Hit Blocks"].as_u64().unwrap();
        assert!(pages < 2_000, "{pages} pages, with {wide} ids between a snapshot and its fence");
    }
}

#[actix::test]
async fn an_empty_claim_of_lanes_means_nothing_to_read() {
    let db = quiet().await;
    for batch in [1, 2, 4] {
        for key in 0..60 {
            let publish = format!("select pubsub.publish('quiet', '{{}}', 'key {key}')");
            db.client.batch_execute(&publish).await.unwrap();
            let claim = format!("select count(*) from pubsub.claim(2, 1, {batch})");
            assert_eq!(db.count(&claim).await, 1, "key {key}, batches of {batch}");
        }
    }
}
