//! `pubsub::migrate` can run in many processes at once, and accepts no schema that the binary does not know.

use pubsub::testing::Database;
use pubsub::{Delivery, Error, PubSub, migrate};
use pubsub_tests::{ChildProcess, Sms, connect, in_child_process};

/// Migrates the database.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_migrates() {
    let Some((url, report)) = in_child_process() else { return };
    report(&format!("{:?}", migrate(&url).await));
}

#[actix::test]
async fn ten_processes_may_migrate_at_once() {
    let database = Database::empty().await.unwrap();
    let children: Vec<_> =
        (0..10).map(|_| ChildProcess::start("migrating::child_migrates", database.url())).collect();
    for child in &children {
        assert_eq!(child.next().await, "Ok(())");
    }
    let client = connect(database.url()).await;
    let count = "select count(*), count(distinct version) from pubsub.schema_history";
    let row = client.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), row.get::<_, i64>(1), "each migration ran once");
}

#[actix::test]
async fn migrating_again_changes_nothing() {
    let database = Database::create().await.unwrap();
    migrate(database.url()).await.unwrap();
    migrate(database.url()).await.unwrap();
}

async fn start(url: &str) -> Result<PubSub, Error> {
    PubSub::builder(url).subscribe_fn("one", |_: Delivery<Sms>| async { Ok(()) }).start().await
}

#[actix::test]
async fn a_schema_newer_than_the_binary_is_refused() {
    let database = Database::create().await.unwrap();
    let client = connect(database.url()).await;
    client
        .execute("insert into pubsub.schema_history values (9999, 'of_the_future', '0', '0', 9998)", &[])
        .await
        .unwrap();
    for refused in [migrate(database.url()).await.unwrap_err(), start(database.url()).await.unwrap_err()] {
        assert!(matches!(refused, Error::SchemaTooNew { found: 9999, .. }), "{refused:?}");
        assert!(refused.to_string().contains("version 9999"), "{refused}");
    }
}

#[actix::test]
async fn a_missing_or_older_schema_says_what_to_run() {
    let database = Database::empty().await.unwrap();
    let missing = start(database.url()).await.unwrap_err();
    assert!(matches!(missing, Error::SchemaMissing), "{missing:?}");
    assert!(missing.to_string().contains("pubsub::migrate"), "{missing}");

    migrate(database.url()).await.unwrap();
    let client = connect(database.url()).await;
    client.execute("update pubsub.schema_history set version = 0", &[]).await.unwrap();
    let older = start(database.url()).await.unwrap_err();
    assert!(matches!(older, Error::SchemaTooOld { found: 0, .. }), "{older:?}");
}
