//! A library accepts its own schema version, and newer ones that declare themselves compatible.

use pubsub::testing::Database;
use pubsub::{Delivery, Error, PubSub, migrate};
use pubsub_tests::{Sms, TestDatabase, connect};

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
        let said = refused.to_string();
        for part in ["is at version 9999", "from version 9998 on", "update the `pubsub` crate"] {
            assert!(said.contains(part), "{said}");
        }
    }
}

#[actix::test]
async fn a_newer_schema_that_is_compatible_is_accepted_as_it_is() {
    let test = TestDatabase::new().await;
    let newer = "insert into pubsub.schema_history values (9999, 'of_the_future', '0', '0', 1)";
    test.client.execute(newer, &[]).await.unwrap();
    let left_alone = "create function pubsub.of_the_future() returns integer language sql return 1";
    test.client.batch_execute(left_alone).await.unwrap();
    let before = super::catalog(&test.client).await;
    migrate(test.url()).await.unwrap();
    assert_eq!(super::catalog(&test.client).await, before);
    assert_eq!(test.count("select count(*) from pubsub.schema_history").await, 2);
    start(test.url()).await.unwrap();
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
    assert!(older.to_string().contains("pubsub::migrate"), "{older}");
}
