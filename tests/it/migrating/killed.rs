//! A migrating process that is killed leaves the whole schema, or nothing.

use super::catalog;
use pubsub::migrate;
use pubsub::testing::Database;
use pubsub_tests::{ChildProcess, MigrationPause, TestDatabase, connect};
use tokio_postgres::Client;

/// Kills a process at a command of its migration.
async fn kill_at(client: &Client, url: &str, command: i64) {
    let pause = MigrationPause::at(client, &format!("command = {command}")).await;
    let child = ChildProcess::start("migrating::child_migrates", url);
    pause.reached().await;
    child.signal("KILL");
    pause.end().await;
}

#[actix::test]
async fn a_migration_killed_anywhere_leaves_nothing_behind() {
    let expected = catalog(&TestDatabase::new().await.client).await;
    let whole = Database::empty().await.unwrap();
    let client = connect(whole.url()).await;
    let counter = MigrationPause::at(&client, "false").await;
    migrate(whole.url()).await.unwrap();
    let commands = counter.commands().await;
    assert!(commands > 200, "only {commands} commands");

    for command in [1, 2, commands / 4, commands / 2, commands * 3 / 4, commands - 1, commands] {
        let database = Database::empty().await.unwrap();
        let client = connect(database.url()).await;
        kill_at(&client, database.url(), command).await;
        let nothing = "select to_regnamespace('pubsub') is null";
        assert!(
            client.query_one(nothing, &[]).await.unwrap().get::<_, bool>(0),
            "killed at command {command}"
        );
        migrate(database.url()).await.unwrap();
        assert_eq!(catalog(&client).await, expected, "killed at command {command}");
    }
}

#[actix::test]
async fn a_killed_replacement_of_functions_leaves_the_old_ones() {
    let test = TestDatabase::new().await;
    let expected = catalog(&test.client).await;
    let old = format!("{}; {}", super::REPLACE, super::OUTDATE);
    test.client.batch_execute(&old).await.unwrap();
    let before = catalog(&test.client).await;
    for command in [1, 80, 160] {
        kill_at(&test.client, test.url(), command).await;
        assert_eq!(catalog(&test.client).await, before, "killed at command {command}");
    }
    migrate(test.url()).await.unwrap();
    assert_eq!(catalog(&test.client).await, expected);
}
