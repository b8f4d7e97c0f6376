//! The bell rings for those who sleep, for nobody else, and can be silenced.

use pubsub::{Delivery, PubSub, publish};
use pubsub_tests::{BellListener, Role, Sms, Stage, play};

/// How often a process is killed until it had a waiter row when it died.
const KILLS: usize = 50;

/// Starts a process and kills it asleep; returns its id.
async fn die_asleep(stage: &Stage) -> i64 {
    for _ in 0..KILLS {
        let mut process = Role::start("bell::role_sleeps", stage.database.url());
        assert_eq!(process.next().await, "started");
        stage.until_count("select count(*) from pubsub.waiters", 1).await;
        process.signal("KILL");
        process.ended().await;
        let row = stage.client.query_opt("select process from pubsub.waiters", &[]).await.unwrap();
        // None: it was awake after all, to look around once more after its listener had connected.
        if let Some(row) = row {
            return row.get(0);
        }
    }
    panic!("a process that has nothing to do does not sleep");
}

/// A process that sleeps, until it is killed.
#[actix::test]
#[ignore = "a role, started by other tests"]
async fn role_sleeps() {
    let Some((url, tell)) = play() else { return };
    let _pubsub =
        PubSub::builder(url).subscribe_fn("one", async |_: Delivery<Sms>| Ok(())).start().await.unwrap();
    tell("started");
    std::future::pending::<()>().await;
}

#[actix::test]
async fn publishers_ring_for_sleepers_and_for_nobody_else() {
    let stage = Stage::new().await;
    let mut listener = BellListener::new(stage.database.url()).await;
    let client = &stage.client;
    for sql in ["declare_channel('sms')", "declare_channel('email')", "subscribe('sms', 'one')"] {
        client.batch_execute(&format!("select pubsub.{sql}")).await.unwrap();
    }
    let publish = async |channel: &str| {
        client.batch_execute(&format!("select pubsub.publish('{channel}', '{{}}')")).await.unwrap();
    };
    publish("sms").await;
    assert_eq!(listener.rung().await, [] as [String; 0], "nobody sleeps");
    client.batch_execute("select pubsub.start_waiting(1, 1, '1 minute')").await.unwrap();
    publish("email").await;
    assert_eq!(listener.rung().await, [] as [String; 0], "nobody sleeps on that channel");
    publish("sms").await;
    assert_eq!(listener.rung().await, ["sms"]);
    client.batch_execute("select pubsub.stop_waiting(1, 1)").await.unwrap();
    publish("sms").await;
    assert_eq!(listener.rung().await, [] as [String; 0], "it is awake");
}

#[actix::test]
async fn the_waiter_row_of_a_process_that_died_asleep_expires() {
    let stage = Stage::new().await;
    let mut listener = BellListener::new(stage.database.url()).await;
    die_asleep(&stage).await;
    let client = &stage.client;
    let longest = "select count(*) from pubsub.waiters where until > clock_timestamp() + '10 seconds'";
    assert_eq!(stage.count(longest).await, 0, "it counts for ten seconds at most");
    listener.rung().await;
    // Nobody takes over from it, and its ten seconds have passed.
    client
        .batch_execute("update pubsub.waiters set until = clock_timestamp() - interval '1 ms'")
        .await
        .unwrap();
    client.batch_execute("select pubsub.publish('sms', '{\"msg\": \"hello\"}')").await.unwrap();
    assert_eq!(listener.rung().await, [] as [String; 0], "nobody rings for the dead");
    assert_eq!(stage.count("select pubsub.remove_expired_waiters()").await, 1, "the janitor's work");
    assert_eq!(stage.count("select count(*) from pubsub.waiters").await, 0);
}

#[actix::test]
async fn whoever_takes_over_from_a_process_that_died_asleep_removes_its_waiter_row() {
    let stage = Stage::new().await;
    let id = die_asleep(&stage).await;
    let pubsub = stage.pubsub().start().await.unwrap();
    stage.until_count(&format!("select count(*) from pubsub.processes where id = {id}"), 0).await;
    assert_eq!(stage.count("select count(*) from pubsub.waiters").await, 0);
    assert!(pubsub.drain(std::time::Duration::from_secs(10)).await);
}

#[actix::test]
async fn a_two_phase_commit_can_be_prepared_with_the_bell_off_and_only_so() {
    let stage = Stage::new().await;
    let mut listener = BellListener::new(stage.database.url()).await;
    let (_pubsub, mut heard) = stage.hear("one").await;
    let client = &stage.client;
    // Somebody who does not wake up, whatever the runtime does.
    client.batch_execute("select pubsub.start_waiting(1, 0, '10 minutes')").await.unwrap();
    let name = stage.database.name();

    client.batch_execute("begin").await.unwrap();
    publish(client, &Sms::new("rung for")).await.unwrap();
    let refused = client.batch_execute(&format!("prepare transaction '{name}'")).await.unwrap_err();
    assert_eq!(refused.code().map(tokio_postgres::error::SqlState::code), Some("0A000"), "{refused:?}");
    client.batch_execute("rollback").await.unwrap();

    listener.rung().await;
    client.batch_execute("begin; set local pubsub.bell = 'off'").await.unwrap();
    publish(client, &Sms::new("polled for")).await.unwrap();
    client.batch_execute(&format!("prepare transaction '{name}'")).await.unwrap();
    assert!(heard.rest().is_empty(), "nothing is seen before the commit");
    client.batch_execute(&format!("commit prepared '{name}'")).await.unwrap();
    assert_eq!(heard.next().await, "polled for");
    assert_eq!(listener.rung().await, [] as [String; 0], "the poll found it");
    client.batch_execute("begin").await.unwrap();
    assert_eq!(stage.count("select count(*) where current_setting('pubsub.bell', true) = 'off'").await, 0);
    client.batch_execute("rollback").await.unwrap();
}
