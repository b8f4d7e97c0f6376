//! After the promotion of a lagging standby, or a crash of the server, the last commits are lost and their ids are drawn
//! again. No later event is skipped, and no process answers for the lease of another one.

use pubsub::testing::{Mode, Options, Server};
use pubsub::{Delivery, PubSub};
use pubsub_tests::{
    Received, Sms, SqlSubscriber, connect, has_programs, migrated, probe, publish_each, until,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_postgres::Client;

/// A server with the schema, and its standby.
struct Pair {
    primary: Server,
    standby: Server,
    client: Client,
}

impl Pair {
    async fn start() -> Self {
        let primary = Server::start().unwrap();
        let client = migrated(&primary).await;
        let standby = primary.standby().unwrap();
        Self { primary, standby, client }
    }

    /// The URL of the server that accepts writes.
    fn url(&self) -> String {
        let (primary, standby) = (self.primary.port(), self.standby.port());
        format!(
            "postgres://postgres@127.0.0.1:{primary},127.0.0.1:{standby}/postgres?target_session_attrs=read-write"
        )
    }

    /// Waits until the standby has replayed all commits so far, then cuts it off.
    async fn detach_standby(&self) {
        let standby = connect(&self.standby.url("postgres")).await;
        let written = "select pg_current_wal_flush_lsn()::text";
        // Claims commit without waiting for the disk.
        self.client.batch_execute("select pg_switch_wal()").await.unwrap();
        let written: String = self.client.query_one(written, &[]).await.unwrap().get(0);
        until(&standby, &format!("select pg_last_wal_replay_lsn() >= '{written}'")).await;
        standby.batch_execute("alter system set primary_conninfo = ''").await.unwrap();
        standby.batch_execute("select pg_reload_conf()").await.unwrap();
        until(&standby, "select not exists (select from pg_stat_wal_receiver where pid is not null)").await;
    }

    /// Kills the primary, promotes the standby, and returns a client of it.
    async fn fail_over(&mut self) -> Client {
        self.primary.stop(Mode::Immediate).unwrap();
        self.standby.promote().unwrap();
        connect(&self.standby.url("postgres")).await
    }
}

async fn receive(url: &str, subscription: &str, gate: Arc<Semaphore>) -> (PubSub, Received<i64>) {
    let (sender, received) = probe();
    let handler = move |sms: Delivery<Sms>| {
        sender.send(sms.event_id().0);
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    let pubsub = PubSub::builder(url)
        // No process is declared dead for its silence.
        .heartbeat_interval(Duration::from_millis(200))
        .silence_limit(Duration::from_secs(3600))
        .subscribe_fn(subscription, handler)
        .start()
        .await
        .unwrap();
    (pubsub, received)
}

fn open() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(Semaphore::MAX_PERMITS))
}

const SETTLED: &str =
    "select not exists (select from pubsub.leases) and not exists (select from pubsub.mailbox)";

#[actix::test]
async fn no_event_is_skipped_when_a_promoted_standby_reuses_ids() {
    if !has_programs(&["pg_basebackup"]) {
        return;
    }
    let mut pair = Pair::start().await;
    let (_pubsub, mut received) = receive(&pair.url(), "one", open()).await;
    let before = publish_each(&pair.client, 5).await;
    assert_eq!(received.take_sorted(5).await, before);
    until(&pair.client, SETTLED).await;
    pair.detach_standby().await;
    let lost = publish_each(&pair.client, 100).await;
    assert_eq!(received.take_sorted(100).await, lost);
    let snapshot = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
    let reached: i64 = pair.client.query_one(snapshot, &[]).await.unwrap().get(0);

    let client = pair.fail_over().await;
    let after = publish_each(&client, 50).await;
    assert!(after.iter().any(|id| lost.contains(id)), "ids are reused");
    let back: i64 = client.query_one(snapshot, &[]).await.unwrap().get(0);
    assert!(back < reached, "and so are transaction ids");
    assert_eq!(received.take_sorted(50).await, after);
    until(&client, SETTLED).await;
    assert!(received.rest().is_empty());
    until(&client, "select timeline = 2 from pubsub.log_identity where marker = 1").await;
}

#[actix::test]
async fn a_settlement_lost_in_a_failover_runs_again() {
    if !has_programs(&["pg_basebackup"]) {
        return;
    }
    let mut pair = Pair::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let (_pubsub, mut received) = receive(&pair.url(), "one", Arc::clone(&gate)).await;
    let ids = publish_each(&pair.client, 3).await;
    assert_eq!(received.take_sorted(3).await, ids);
    until(&pair.client, "select sum(cardinality(event_ids)) = 3 from pubsub.leases").await;
    pair.detach_standby().await;
    gate.add_permits(Semaphore::MAX_PERMITS);
    until(&pair.client, SETTLED).await;

    let client = pair.fail_over().await;
    until(&client, "select sum(cardinality(event_ids)) = 3 or count(*) = 0 from pubsub.leases").await;
    // The standby knows the leases, but not their settlements; and the process that holds them is alive.
    assert_eq!(received.take_sorted(3).await, ids);
    until(&client, SETTLED).await;
}

#[actix::test]
async fn a_lease_known_only_to_the_server_is_returned() {
    let server = Server::start().unwrap();
    let client = migrated(&server).await;
    let (_pubsub, mut received) = receive(&server.url("postgres"), "one", open()).await;
    let ids = publish_each(&client, 1).await;
    assert_eq!(received.take(1).await, ids);
    until(&client, SETTLED).await;
    // The session that recognized the server is the one that is cut below.
    until(&client, "select session_pid is not null from pubsub.processes").await;
    // As after a failover: the settlement is undone, and the server is in another incarnation.
    let undone = "insert into pubsub.leases (subscription, lane, process, event_ids, from_mailbox)
                  select s.id, 0, p.id, $1, false from pubsub.subscriptions s, pubsub.processes p";
    client.execute(undone, &[&ids]).await.unwrap();
    client.batch_execute("delete from pubsub.incarnations").await.unwrap();
    let cut = "select pg_terminate_backend(session_pid) from pubsub.processes";
    client.batch_execute(cut).await.unwrap();
    assert_eq!(received.take(1).await, ids);
    until(&client, SETTLED).await;
}

#[actix::test]
async fn a_process_known_only_to_the_dead_primary_registers_again() {
    if !has_programs(&["pg_basebackup"]) {
        return;
    }
    let mut pair = Pair::start().await;
    SqlSubscriber::register(&pair.client, "one").await.unwrap();
    pair.detach_standby().await;
    let (_pubsub, mut received) = receive(&pair.url(), "one", open()).await;
    let lost = publish_each(&pair.client, 3).await;
    assert_eq!(received.take_sorted(3).await, lost);

    let client = pair.fail_over().await;
    // Other processes register before it is back.
    let other = SqlSubscriber::register(&client, "two").await.unwrap();
    let after = publish_each(&client, 5).await;
    assert_eq!(received.take_sorted(5).await, after);
    until(&client, SETTLED).await;
    assert_eq!(other.drain(10).await.unwrap(), after);
}

#[actix::test]
async fn no_process_or_subscription_id_is_reused_after_a_failover() {
    if !has_programs(&["pg_basebackup"]) {
        return;
    }
    let mut pair = Pair::start().await;
    let one = SqlSubscriber::register(&pair.client, "one").await.unwrap();
    pair.detach_standby().await;
    publish_each(&pair.client, 100).await;
    let (mut tokens, mut processes) = (Vec::new(), vec![one.process]);
    while let Some(event) = one.claim(1).await.unwrap().first() {
        tokens.push(event.token);
        processes.push(SqlSubscriber::register(&pair.client, "one").await.unwrap().process);
    }
    let mut lost = Vec::new();
    for n in 0..40 {
        lost.push(SqlSubscriber::register(&pair.client, &format!("lost-{n}")).await.unwrap().subscription);
    }
    let (process, subscription) = (one.process, one.subscription);

    let client = pair.fail_over().await;
    let other = SqlSubscriber::register(&client, "other").await.unwrap();
    assert!(
        !lost.contains(&other.subscription),
        "the process of a lost id must not get the events of the new one"
    );
    assert!(
        processes.iter().all(|&process| process < other.process),
        "{processes:?}, then {}",
        other.process
    );
    publish_each(&client, 100).await;
    // The same process id, the same event ids, and other leases.
    let claim = "select token from pubsub.claim($1, $2, 1)";
    for old in tokens {
        let new: i64 = client.query_one(claim, &[&subscription, &process]).await.unwrap().get(0);
        assert!(new > old);
        let settle = "select pubsub.settle($1, $2)";
        let settled: bool = client.query_one(settle, &[&process, &old]).await.unwrap().get(0);
        assert!(
            !settled,
            "an answer to a lost delivery must not count for the delivery that reuses its event's id"
        );
    }
    assert_eq!(
        client.query_one("select count(*) from pubsub.leases", &[]).await.unwrap().get::<_, i64>(0),
        100
    );
}

#[actix::test]
async fn no_token_is_reused_after_a_crash_that_lost_its_claim() {
    // So that asynchronous commits are certainly lost.
    let settings = vec![("wal_writer_delay".into(), "10s".into())];
    let mut server = Server::start_with(Options { settings, ..Options::default() }).unwrap();
    let url = server.url("postgres");
    migrated(&server).await;
    let mut claimed = 0;
    for _ in 0..3 {
        let client = connect(&url).await;
        let one = SqlSubscriber::register(&client, "one").await.unwrap();
        publish_each(&client, 40).await;
        client.batch_execute("set synchronous_commit = off").await.unwrap();
        // A sequence is logged at every 32nd value. The crash comes right after that.
        let logged = "select log_cnt = 32 from pubsub.leases_token_seq";
        loop {
            let token = one.claim(1).await.unwrap()[0].token;
            assert!(token > claimed, "{token} comes after {claimed}");
            claimed = token;
            if client.query_one(logged, &[]).await.unwrap().get(0) {
                break;
            }
        }
        server.restart(Mode::Immediate).unwrap();
    }
    let client = connect(&url).await;
    let forgotten = format!("select not exists (select from pubsub.leases where token = {claimed})");
    assert!(
        client.query_one(&forgotten, &[]).await.unwrap().get::<_, bool>(0),
        "otherwise this shows nothing"
    );
}

#[actix::test]
async fn a_clean_restart_ends_no_incarnation() {
    let mut server = Server::start().unwrap();
    let url = server.url("postgres");
    migrated(&server).await;
    let recognize = "select incarnation, news is null from pubsub.recognize()";
    let client = connect(&url).await;
    let row = client.query_one(recognize, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (0, true));
    server.restart(Mode::Fast).unwrap();
    let client = connect(&url).await;
    let row = client.query_one(recognize, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (0, true));
    server.restart(Mode::Immediate).unwrap();
    let client = connect(&url).await;
    let row = client.query_one("select incarnation > 0, news from pubsub.recognize()", &[]).await.unwrap();
    let (started, news): (bool, Option<String>) = (row.get(0), row.get(1));
    assert_eq!((started, news.as_deref()), (true, Some("the server was restarted after a crash")));
    let again = client.query_one("select news is null from pubsub.recognize()", &[]).await.unwrap();
    assert!(again.get::<_, bool>(0), "reported once");
}
