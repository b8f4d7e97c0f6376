//! Cursors that were replicated into a copy of the cluster's files are recognized, although the files are at home.

use pubsub_tests::{SqlSubscriber, TestDatabase, publish_each};

/// Writes the cursor as another cluster has written it, one that has drawn a thousand transaction ids more.
const REPLICATED: &str = "
    insert into pubsub.cursors (subscription, lane, seq, read_snapshot, read_sequence, read_fence, writer)
    select c.subscription, c.lane, c.seq + 1, format('%1$s:%1$s:', x)::pg_snapshot, c.read_sequence, x::bigint, x::xid8
      from pubsub.positions() c
     cross join lateral (select (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000)::text as x) ahead";

async fn code_of(one: &SqlSubscriber<'_>) -> String {
    let refused = one.claim(10).await.unwrap_err();
    refused.code().unwrap().code().to_owned()
}

/// Draws transaction ids until they are past those of the other cluster.
async fn catch_up(db: &TestDatabase) {
    let spend = "do $$ begin for n in 1 .. 1100 loop perform pg_current_xact_id(); commit; end loop; end $$";
    db.client.batch_execute(spend).await.unwrap();
}

#[actix::test]
async fn a_replicated_cursor_is_refused_until_it_is_rebased() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish_each(&db.client, 3).await;
    one.drain(10).await.unwrap();
    db.client.batch_execute(REPLICATED).await.unwrap();
    let early = publish_each(&db.client, 3).await;
    assert_eq!(code_of(&one).await, "PB005");
    catch_up(&db).await;
    let late = publish_each(&db.client, 3).await;
    assert_eq!(code_of(&one).await, "PB005", "also when the transaction ids have caught up");
    assert_eq!(db.count("select pubsub.rebase()").await, 1);
    assert_eq!(one.drain(10).await.unwrap(), [early, late].concat());
    assert_eq!(one.drain(10).await.unwrap().len(), 0);
}

#[actix::test]
async fn an_upgrade_by_replication_is_no_plain_upgrade() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    db.client.batch_execute(REPLICATED).await.unwrap();
    let events = publish_each(&db.client, 3).await;
    catch_up(&db).await;
    let upgraded = "update pubsub.log_identity set system_identifier = 1; truncate pubsub.incarnations";
    db.client.batch_execute(upgraded).await.unwrap();
    let refused = db.client.batch_execute("select pubsub.recognize()").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "PB005");
    db.client.batch_execute("select pubsub.rebase()").await.unwrap();
    assert_eq!(one.drain(10).await.unwrap(), events);
}

#[actix::test]
async fn a_sequence_that_was_not_replicated_is_recognized() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    publish_each(&db.client, 10).await;
    one.drain(10).await.unwrap();
    // The cursor goes on behind the window that it has read, which no later one may begin before.
    publish_each(&db.client, 1).await;
    one.drain(10).await.unwrap();
    let left_behind =
        "delete from pubsub.db_events where id > 2; select setval('pubsub.db_events_id_seq', 2);
                       truncate pubsub.incarnations";
    db.client.batch_execute(left_behind).await.unwrap();
    db.client.batch_execute("select pubsub.recognize()").await.unwrap();
    let events = publish_each(&db.client, 3).await;
    assert!(events[0] > 10, "the rebase has set the sequence");
    assert_eq!(one.drain(10).await.unwrap(), events);
}

#[actix::test]
async fn a_claim_inside_savepoints_writes_a_cursor_of_its_own() {
    let db = TestDatabase::new().await;
    let one = SqlSubscriber::register(&db.client, "one").await.unwrap();
    for _ in 0..3 {
        let events = publish_each(&db.client, 2).await;
        db.client.batch_execute("begin; savepoint a; savepoint b").await.unwrap();
        let claimed = one.claim(1).await.unwrap();
        db.client.batch_execute("commit").await.unwrap();
        assert_eq!(claimed[0].id, events[0]);
        assert_eq!(one.drain(10).await.unwrap(), [events[1]]);
    }
}
