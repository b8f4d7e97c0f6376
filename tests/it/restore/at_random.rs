//! After a restore every subscription goes on where it was, whatever the log was doing during the dump.

use pubsub::testing::Server;
use pubsub_tests::{
    SqlSubscriber, connect, dump, has_programs, publish_each, rebase_if_needed, restore,
    server_with_high_xids,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Row};

/// SQL subscribers, and publishers with open transactions, on one server after the other.
struct World {
    client: Client,
    publishers: Vec<(Client, bool)>,
    /// The events that each subscription without seeks was given.
    given: BTreeMap<&'static str, BTreeSet<i64>>,
}

/// Subscriptions that are never moved, and those that are.
const STEADY: [&str; 3] = ["steady-1", "steady-2", "steady-3"];
const MOVED: [&str; 2] = ["moved-1", "moved-2"];

impl World {
    async fn on(url: &str) -> Self {
        let client = connect(url).await;
        let mut publishers = Vec::new();
        for _ in 0..4 {
            publishers.push((connect(url).await, false));
        }
        Self { client, publishers, given: BTreeMap::new() }
    }

    /// Performs one random action on the log.
    async fn step(&mut self, random: &mut fastrand::Rng) {
        let (publisher, open) = &mut self.publishers[random.usize(..4)];
        match random.u8(..20) {
            0..=4 => drop(publish_each(&*publisher, random.usize(1..4)).await),
            5..=8 => {
                let sql = match (*open, random.u8(..4)) {
                    (false, _) => "begin",
                    (true, 0) => "rollback",
                    (true, _) => "commit",
                };
                publisher.batch_execute(sql).await.unwrap();
                *open = !*open;
            }
            9..=18 => {
                let name = [&STEADY[..], &MOVED].concat()[random.usize(..5)];
                self.claim(name, random.i32(1..10)).await;
            }
            _ => {
                let name = MOVED[random.usize(..2)];
                // The target may also be beyond the end of the log.
                let to = random.f64() * 1.2;
                let seek =
                    "select pubsub.seek('sms', $1, event => (pubsub.log_sequence() * $2::float8)::bigint)";
                self.client.execute(seek, &[&name, &to]).await.unwrap();
            }
        }
    }

    async fn claim(&mut self, name: &'static str, batch: i32) {
        let subscriber = SqlSubscriber::register(&self.client, name).await.unwrap();
        let claimed = subscriber.claim(batch).await.unwrap();
        let Some(first) = claimed.first() else { return };
        assert!(subscriber.settle(first.token).await.unwrap());
        if STEADY.contains(&name) {
            let given = self.given.entry(name).or_default();
            for event in claimed {
                assert!(given.insert(event.id), "{name} is given event {} twice", event.id);
            }
        }
    }

    /// Reads the rest of the log for every subscription.
    async fn drain(&self) -> BTreeMap<&'static str, Vec<i64>> {
        let mut read = BTreeMap::new();
        for name in [&STEADY[..], &MOVED].concat() {
            let subscriber = SqlSubscriber::register(&self.client, name).await.unwrap();
            let mut ids = subscriber.drain(3).await.unwrap();
            ids.sort_unstable();
            read.insert(name, ids);
        }
        read
    }
}

#[actix::test]
async fn repeated_restores_keep_every_subscriptions_position() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let seed =
        std::env::var("PUBSUB_STRESS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("PUBSUB_STRESS_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut server, client) = server_with_high_xids().await;
    for name in [&STEADY[..], &MOVED].concat() {
        SqlSubscriber::register(&client, name).await.unwrap();
    }
    let mut world = World::on(&server.url("postgres")).await;
    // The second and the third server have transaction ids that the one before had too.
    for _ in 0..3 {
        for _ in 0..250 {
            world.step(&mut random).await;
        }
        let fresh = Server::start().unwrap();
        let dump = dump(&server, &fresh);
        // The dump contains no open transaction.
        for (publisher, open) in &world.publishers {
            if *open {
                publisher.batch_execute("rollback").await.unwrap();
            }
        }
        let expected = world.drain().await;
        // One copy to inspect, and one to go on with.
        let [inspected, main] = ["inspected", "postgres"].map(|database| fresh.url(database));
        connect(&main).await.batch_execute("create database inspected").await.unwrap();
        restore(&dump, &fresh, "inspected");
        restore(&dump, &fresh, "postgres");
        let exact = rebase_if_needed(&inspected).await;
        let found = World::on(&inspected).await.drain().await;
        if exact {
            assert_eq!(found, expected, "the events that the dump had not read");
        } else {
            for (name, expected) in &expected {
                let missing: Vec<_> = expected.iter().filter(|id| !found[name].contains(id)).collect();
                assert!(missing.is_empty(), "{name}: {missing:?}");
            }
        }

        assert_eq!(rebase_if_needed(&main).await, exact);
        let mut given = world.given;
        for (name, given) in &mut given {
            given.retain(|id| !found[name].contains(id));
        }
        world = World::on(&main).await;
        world.given = given;
        server = fresh;
    }
}

/// Publishes or claims repeatedly until told to stop. Claimed events are recorded in the claim's own transaction.
fn load(url: String, subscription: Option<&'static str>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut client = connect(&url).await;
        let claim = match subscription {
            Some(name) => {
                let subscriber = SqlSubscriber::register(&client, name).await.unwrap();
                format!(
                    "insert into public.given select {0}, c.id from pubsub.claim({0}, {1}, 20) c",
                    subscriber.subscription, subscriber.process
                )
            }
            None => String::new(),
        };
        while !stop.load(Ordering::Relaxed) {
            if subscription.is_some() {
                client.batch_execute(&claim).await.unwrap();
            } else {
                let transaction = client.transaction().await.unwrap();
                publish_each(&transaction, fastrand::usize(1..5)).await;
                transaction.commit().await.unwrap();
            }
        }
    })
}

#[actix::test]
async fn a_log_dumped_under_load_is_restored_without_a_gap() {
    if !has_programs(&["pg_dump", "pg_restore"]) {
        return;
    }
    let (old, client) = server_with_high_xids().await;
    client.batch_execute("create table public.given (subscription integer, id bigint)").await.unwrap();
    for name in ["one", "two"] {
        SqlSubscriber::register(&client, name).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let roles = [None, None, None, Some("one"), Some("one"), Some("two")];
    let tasks: Vec<_> = roles.map(|role| load(old.url("postgres"), role, Arc::clone(&stop))).into();
    let given = "select count(*) from public.given";
    while client.query_one(given, &[]).await.unwrap().get::<_, i64>(0) < 1000 {
        tokio::task::yield_now().await;
    }
    let fresh = Server::start().unwrap();
    let dumping = tokio::task::spawn_blocking(move || (dump(&old, &fresh), old, fresh));
    let (dumped, _old, fresh) = dumping.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    restore(&dumped, &fresh, "postgres");

    let exact = rebase_if_needed(&fresh.url("postgres")).await;
    let client = connect(&fresh.url("postgres")).await;
    for name in ["one", "two"] {
        let subscriber = SqlSubscriber::register(&client, name).await.unwrap();
        let events = |sql: &'static str| client.query(sql, &[]);
        let all = ids(&events("select id, 0 from pubsub.db_events").await.unwrap(), 0);
        let given =
            ids(&events("select id, subscription from public.given").await.unwrap(), subscriber.subscription);
        let rest: BTreeSet<i64> = subscriber.drain(500).await.unwrap().into_iter().collect();
        assert_eq!(&given | &rest, all, "{name}: each event was claimed before or after");
        let twice = (&given & &rest).len();
        assert!(twice == 0 || !exact, "{name}: {twice} events come again");
        // The events that arrived while a window was opened: a handful, whatever the size of the log.
        assert!(twice < 100, "{name}: {twice} events come again");
    }
}

/// The ids in the rows of one subscription.
fn ids(rows: &[Row], subscription: i32) -> BTreeSet<i64> {
    let of_it = rows.iter().filter(|row| row.get::<_, i32>(1) == subscription);
    of_it.map(|row| row.get(0)).collect()
}
