//! The log keeps the events that a subscription may still need, and no others for longer than their retention.

mod partitions;
mod removal;
mod unread;
mod xmin_holders;

use pubsub::admin::rebase;
use pubsub::testing::{Database, Server};
use pubsub::{Delivery, Failure};
use pubsub_tests::{
    DEADLINE, Sms, SqlSubscriber, TestDatabase, connect, dump_and_restore, has_programs, probe, publish_each,
    server_with_high_xids,
};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error};

/// The end of the first partition.
const END: i64 = 10_000_000_000;

/// A database on a server that only the tests of retention use. An open transaction anywhere on a server keeps the
/// partitions of all its databases from being sealed, and other tests leave transactions open for long.
async fn db() -> TestDatabase {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let start = || SERVER.get_or_init(|| Server::start().unwrap()).url("postgres");
    let url = tokio::task::spawn_blocking(start).await.unwrap();
    let database = Database::create_on(&url).await.unwrap();
    TestDatabase { client: connect(database.url()).await, database }
}

/// A log without retention: it keeps only the events that are still needed.
pub(crate) struct TrimmedLog {
    pub(crate) db: TestDatabase,
    /// The process that claims.
    process: i64,
}

impl TrimmedLog {
    /// Creates the log with subscription 1, `one` of `sms`, and a process.
    pub(crate) async fn new() -> Self {
        let db = db().await;
        db.client
            .batch_execute(
                "select pubsub.declare_channel('sms'); select pubsub.declare_channel('email');
                 select pubsub.set_retention('sms', '0'); select pubsub.set_retention('email', '0')",
            )
            .await
            .unwrap();
        let process = db.count("select pubsub.register_process('host', 1, 'test')").await;
        let trimmed = Self { db, process };
        trimmed.count("select pubsub.subscribe('sms', 'one')::bigint").await;
        trimmed
    }

    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.db.count(sql).await
    }

    pub(crate) async fn connect(&self) -> Client {
        connect(self.db.url()).await
    }

    /// Publishes the last events of the partition that ends at `end`, and the first ones after it.
    pub(crate) async fn publish_across(&self, end: i64, before: i64, after: i64) {
        self.publish_across_unsealed(end, before, after).await;
        self.until_sealed(end).await;
    }

    async fn publish_across_unsealed(&self, end: i64, before: i64, after: i64) {
        let publish = format!(
            "select setval('pubsub.db_events_id_seq', {end} - 1 - {before});
             select pubsub.publish('sms', '{{}}') from generate_series(1, {before} + {after})"
        );
        self.db.client.batch_execute(&publish).await.unwrap();
    }

    pub(crate) async fn claim(&self, subscription: i32) -> Vec<i64> {
        self.claim_up_to(subscription, 1_000).await.unwrap()
    }

    pub(crate) async fn claim_up_to(&self, subscription: i32, most: i32) -> Result<Vec<i64>, Error> {
        let claim = "select id from pubsub.claim($1, $2, $3)";
        let rows = self.db.client.query(claim, &[&subscription, &self.process, &most]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(crate) async fn claim_mailbox(&self, subscription: i32) -> Vec<i64> {
        let claim = "select id from pubsub.claim_mailbox($1, $2, 100)";
        let rows = self.db.client.query(claim, &[&subscription, &self.process]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    pub(crate) async fn settle_all(&self) {
        self.count("select count(pubsub.settle(l.process, l.token)) from pubsub.leases l").await;
    }

    /// Waits until the partitions up to `end` are sealed.
    pub(crate) async fn until_sealed(&self, end: i64) {
        let unsealed =
            format!("select count(*) from pubsub.partitions where end_id <= {end} and sealed_at is null");
        let until = Instant::now() + DEADLINE;
        loop {
            self.count("select pubsub.close_partitions()::bigint").await;
            if self.count(&unsealed).await == 0 {
                return;
            }
            assert!(Instant::now() < until, "a partition below {end} is still not sealed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Performs the janitor's steps before a removal.
    pub(crate) async fn maintain(&self) {
        for task in ["ensure_partitions()", "close_partitions()", "advance_idle_cursors()"] {
            self.count(&format!("select pubsub.{task}::bigint")).await;
        }
    }

    /// Removes all removable partitions. Returns the first ids of the opened partitions that are left.
    pub(crate) async fn trim(&self) -> Vec<i64> {
        self.maintain().await;
        let remover = self.connect().await;
        while let Some(statement) = next_removal(&remover).await {
            remover.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        }
        self.opened().await
    }

    async fn opened(&self) -> Vec<i64> {
        let opened = "select first_id from pubsub.partitions where opened_at is not null order by first_id";
        self.db.client.query(opened, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

pub(crate) async fn next_removal(remover: &Client) -> Option<String> {
    remover.query_one("select pubsub.next_removal('0')", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_settled_partition_is_removed_after_its_retention() {
    let log = TrimmedLog::new().await;
    log.publish_across(END, 3, 2).await;
    assert_eq!(log.trim().await, [0, END], "not yet claimed");
    assert_eq!(log.claim(1).await.len(), 5);
    assert_eq!(log.claim(1).await, [] as [i64; 0]);
    assert_eq!(log.trim().await, [0, END], "leased");
    log.settle_all().await;
    log.count("select count(pubsub.set_retention('sms', '1 day'))").await;
    assert_eq!(log.trim().await, [0, END], "kept for a day");
    log.count("select count(pubsub.set_retention('sms', null))").await;
    assert_eq!(log.trim().await, [0, END], "kept forever");
    log.count("select count(pubsub.set_retention('sms', '1 day'))").await;
    log.db
        .client
        .batch_execute("update pubsub.partitions set sealed_at = sealed_at - interval '25 hours'")
        .await
        .unwrap();
    assert_eq!(log.trim().await, [END]);
    assert_eq!(log.count("select count(*) from pubsub.db_events").await, 2, "the other partitions are there");
    assert_eq!(log.count("select count(*) from pg_class where relname = 'db_events_0'").await, 0);
}

#[tokio::test]
async fn the_longest_retention_in_a_partition_counts() {
    let log = TrimmedLog::new().await;
    log.count("select count(pubsub.set_retention('email', '7 days'))").await;
    log.publish_across(END, 1, 1).await;
    log.claim(1).await;
    log.settle_all().await;
    assert_eq!(log.trim().await, [END], "it contains no e-mail");
    log.publish_across(2 * END, 1, 0).await;
    log.db.client.batch_execute("select pubsub.publish('email', '{}')").await.unwrap();
    log.publish_across(3 * END, 1, 1).await;
    log.claim(1).await;
    log.settle_all().await;
    assert_eq!(log.trim().await, [2 * END, 3 * END], "the second contains an e-mail");
}

#[tokio::test]
async fn an_open_transaction_with_an_event_holds_its_partition() {
    let log = TrimmedLog::new().await;
    let late = log.connect().await;
    log.db.client.batch_execute("select setval('pubsub.db_events_id_seq', 9999999997)").await.unwrap();
    late.batch_execute("begin; select pubsub.publish('sms', '{}')").await.unwrap();
    log.publish_across_unsealed(END, 1, 2).await;
    assert_eq!(log.claim(1).await, [END - 1, END, END + 1]);
    log.settle_all().await;
    assert_eq!(log.trim().await, [0, END]);
    assert_eq!(log.count("select count(*) from pubsub.partitions where fence is not null").await, 1);
    assert_eq!(log.count("select count(*) from pubsub.partitions where sealed_at is not null").await, 0);

    late.batch_execute("commit").await.unwrap();
    log.until_sealed(END).await;
    assert_eq!(log.trim().await, [0, END], "sealed, and not claimed");
    assert_eq!(log.claim(1).await, [END - 2]);
    log.settle_all().await;
    assert_eq!(log.trim().await, [END]);
}

#[tokio::test]
async fn an_idle_subscription_holds_no_partition_and_misses_nothing() {
    let log = TrimmedLog::new().await;
    log.count("select pubsub.subscribe('email', 'idle')::bigint").await;
    let late = log.connect().await;
    late.batch_execute("begin; select pubsub.publish('email', '{}')").await.unwrap();
    let early = log.count("select last_value from pubsub.db_events_id_seq").await;
    log.publish_across_unsealed(END, 1, 1).await;
    log.claim(1).await;
    log.settle_all().await;
    assert_eq!(log.trim().await, [0, END], "an e-mail may still come into it");
    late.batch_execute("commit").await.unwrap();
    log.until_sealed(END).await;
    assert_eq!(log.trim().await, [0, END], "it has come, and waits");
    assert_eq!(log.claim(2).await, [early]);
    log.settle_all().await;
    log.publish_across(2 * END, 1, 1).await;
    log.claim(1).await;
    log.settle_all().await;

    let moves = "select max(seq) from pubsub.cursors where subscription = 2";
    let before = log.count(moves).await;
    late.batch_execute("begin; select pubsub.publish('email', '{}')").await.unwrap();
    log.maintain().await;
    assert_eq!(log.count(moves).await, before + 1);
    let free = "select count(*) from pubsub.partitions p where p.sealed_at is not null and pubsub.removal_blockers(p) = '{}'";
    assert_eq!(log.count(free).await, 2, "the first two contain nothing unread");
    log.maintain().await;
    assert_eq!(log.count(moves).await, before + 1, "once is enough");
    late.batch_execute("commit").await.unwrap();
    assert_eq!(log.claim(2).await.len(), 1, "the events in flight at the new boundary arrive");
    assert_eq!(log.trim().await, [2 * END]);
}

#[tokio::test]
async fn a_backlog_does_not_hold_partitions_already_read() {
    let log = TrimmedLog::new().await;
    log.publish_across(END, 600, 600).await;
    // One window over both partitions, read up to the middle of the second one.
    assert_eq!(log.claim(1).await.len(), 1_000);
    log.settle_all().await;
    assert_eq!(
        log.count("select count(*) from pubsub.positions() where window_snapshot is not null").await,
        1
    );
    assert_eq!(log.trim().await, [END]);
    assert_eq!(log.claim(1).await.len(), 200);
}

#[tokio::test]
async fn a_delivery_in_the_mailbox_outlives_its_partition() {
    let log = TrimmedLog::new().await;
    log.publish_across(END, 1, 1).await;
    assert_eq!(log.claim(1).await, [END - 1, END]);
    let settle = format!(
        "select count(pubsub.settle(l.process, l.token, null, '[{{\"id\": {}, \"action\": \"retry\"}}]')) from pubsub.leases l",
        END - 1
    );
    log.count(&settle).await;
    assert_eq!(log.trim().await, [END]);
    assert_eq!(log.claim_mailbox(1).await, [END - 1]);
}

#[actix::test]
async fn a_running_process_trims_the_log() {
    // A server of its own: the log is trimmed up to the oldest transaction in flight, in whatever database.
    let server = tokio::task::spawn_blocking(Server::start).await.unwrap().unwrap();
    let database = Database::create_on(&server.url("postgres")).await.unwrap();
    let db = TestDatabase { client: connect(database.url()).await, database };
    let (sender, mut received) = probe();
    let start = async || {
        let sender = sender.clone();
        let handle = move |sms: Delivery<Sms>| {
            sender.send((sms.msg.clone(), sms.attempt()));
            std::future::ready(match sms.attempt() {
                1 => Err(Failure::snooze(DEADLINE * 1_000)),
                _ => Ok(()),
            })
        };
        db.pubsub()
            .retention::<Sms>(pubsub::Retention::For(Duration::ZERO))
            .subscribe_fn("one", handle)
            .start()
            .await
    };
    let first = start().await.unwrap();
    db.client.batch_execute("select setval('pubsub.db_events_id_seq', 9999999998)").await.unwrap();
    for msg in ["the last in its partition", "the first in the next"] {
        pubsub::publish(&first, &Sms::new(msg)).await.unwrap();
        assert_eq!(received.next().await, (msg.into(), 1));
    }
    assert!(first.drain(DEADLINE).await);
    // The janitor runs at the start and every 15 s.
    let _second = start().await.unwrap();
    db.until_count("select min(first_id) from pubsub.partitions", END).await;
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 1);
    assert_eq!(db.count("select count(*) from pubsub.mailbox").await, 2, "both wait for their next attempt");
}

#[tokio::test]
async fn every_lane_must_have_read_a_partition_before_its_removal() {
    let log = TrimmedLog::new().await;
    log.count("select pubsub.subscribe('email', 'ordered', lanes => 4)::bigint").await;
    // All events have one key, so one lane has events, and three have none.
    let publish = "select count(pubsub.publish('email', '{}', key => 'k')) from generate_series(1, 3)";
    log.count(publish).await;
    log.publish_across(END, 1, 1).await;
    log.claim(1).await;
    log.settle_all().await;
    assert_eq!(log.trim().await, [0, END], "one lane has not been read");
    assert_eq!(log.count("select count(*) from pubsub.cursors where lane > 0 and seq > 1").await, 3);
    assert_eq!(log.claim(2).await.len(), 3);
    log.settle_all().await;
    assert_eq!(log.trim().await, [END]);
    log.count(publish).await;
    assert_eq!(log.claim(2).await.len(), 3, "the lanes go on where they were");
}

#[actix::test]
async fn a_partition_closed_before_a_restore_is_read_and_removed() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (old, client) = server_with_high_xids().await;
    client.batch_execute("select pubsub.set_retention('sms', '0')").await.unwrap();
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    client.batch_execute("select setval('pubsub.db_events_id_seq', 9999999996)").await.unwrap();
    publish_each(&client, 2).await;
    one.drain(10).await.unwrap();
    let pending = publish_each(&client, 2).await;
    client.batch_execute("select pubsub.close_partitions()").await.unwrap();
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);
    rebase(&fresh.url("postgres")).await.unwrap();

    let client = connect(&fresh.url("postgres")).await;
    let free = "select count(*) from pubsub.partitions p where p.sealed_at is not null and pubsub.removal_blockers(p) = '{}'";
    let free = async || client.query_one(free, &[]).await.unwrap().get::<_, i64>(0);
    assert_eq!(free().await, 0, "its last event has not been read");
    let one = SqlSubscriber::register(&client, "one").await.unwrap();
    assert_eq!(one.drain(10).await.unwrap(), pending);
    client.batch_execute("select pubsub.advance_idle_cursors()").await.unwrap();
    assert_eq!(free().await, 1);
    publish_each(&client, 1).await;
    assert_eq!(one.drain(10).await.unwrap(), [END + 1], "and reading goes on");
}
