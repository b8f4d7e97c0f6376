//! Servers and databases that differ from the usual one: in version, in encoding, in what they allow.

use pubsub_tests::{TestDatabase, connect};

#[tokio::test]
async fn a_snapshot_lists_its_own_transaction_beside_later_ones() {
    let db = TestDatabase::new().await;
    let mut client = connect(db.url()).await;
    let transaction = client.transaction().await.unwrap();
    let own = "select pg_current_xact_id()::text";
    let own: String = transaction.query_one(own, &[]).await.unwrap().get(0);
    let later: String = db.client.query_one("select pg_current_xact_id()::text", &[]).await.unwrap().get(0);
    let visible =
        "select pg_visible_in_snapshot($1::text::xid8, s), pg_visible_in_snapshot($2::text::xid8, s)
                     from pubsub.own_snapshot() s";
    let row = transaction.query_one(visible, &[&own, &later]).await.unwrap();
    assert_eq!((row.get(0), row.get(1)), (false, true));
}
