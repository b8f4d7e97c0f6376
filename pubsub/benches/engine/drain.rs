//! Draining: two consumers empty a backlog in batches of 100, claim and acknowledge each its own transaction, beside a queue
//! of the same shape. What they read is decoded by nobody.
//!
//! The acknowledgement commits as the server's default says, and our claim asynchronously, as the runtime has it. The queue's
//! claim is measured both ways: as the libraries with such a queue commit it, and as ours. The WAL holds no pages in full:
//! every page was first changed after the only checkpoint.

use crate::rounds::Rounds;
use crate::tables::Design;
use crate::{connect, database, number, wal_position};
use futures_util::future::{join, join_all};
use pubsub::testing::Server;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Row};

/// The backlog.
const EVENTS: u64 = 100_000;

const CONSUMERS: usize = 2;

const ROUNDS: usize = 3;

/// Longest wait for the server's statistics.
const STATISTICS: Duration = Duration::from_secs(30);

pub(crate) async fn run(server: &Server) {
    let mut drains = Vec::new();
    let rounds = Rounds::<{ Design::ALL.len() }>::play(ROUNDS, async |way| {
        let design = Design::ALL[way];
        let name = format!("drain_{}", drains.len());
        let drain = Drain::measure(&database(server, &name).await, design, EVENTS, 1).await;
        drains.push((design, drain));
        drain.rate
    })
    .await;
    rounds.print(Design::ALL.map(Design::name), "events/s");
    rounds.print_ratio("drain_to_queue", 0, 1);
    rounds.print_ratio("drain_to_async_queue", 0, 2);
    for design in [Design::Log, Design::Queue] {
        let of_design = |value: fn(&Drain) -> f64| {
            let drains = drains.iter().filter(|(of, _)| *of == design);
            crate::median(drains.map(|(_, drain)| value(drain)).collect())
        };
        crate::figure(&format!("{}_wal", design.name()), of_design(|drain| drain.wal), "bytes");
        crate::figure(&format!("{}_dead", design.name()), of_design(|drain| drain.dead), "tuples");
    }
}

/// What a drain came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// Deliveries per second.
    pub(crate) rate: f64,
    /// Bytes of WAL, and dead tuples, for each delivery.
    pub(crate) wal: f64,
    pub(crate) dead: f64,
    /// Bytes of WAL for each event that was published, before.
    pub(crate) published_wal: f64,
}

impl Drain {
    /// Publishes a backlog for some subscriptions, and drains it.
    pub(crate) async fn measure(url: &str, design: Design, events: u64, subscriptions: i32) -> Self {
        let admin = connect(url).await;
        for subscription in 1..=subscriptions {
            let sql = format!("select pubsub.subscribe('bench', 'subscription-{subscription}')");
            admin.batch_execute(&sql).await.expect("a subscription");
        }
        admin.batch_execute("checkpoint").await.expect("a checkpoint");
        let before = wal_position(&admin).await;
        admin.batch_execute(&design.load(events, subscriptions)).await.expect("a backlog");
        let published = wal_position(&admin).await - before;
        admin.batch_execute("vacuum analyze").await.expect("what autovacuum would have done");

        let consumers = join_all((0..CONSUMERS).map(|_| connect(url))).await;
        let before = wal_position(&admin).await;
        let began = Instant::now();
        let drained = join_all(
            consumers
                .into_iter()
                .enumerate()
                .map(async |(number, client)| consume(&client, design, subscriptions, number).await),
        )
        .await;
        let took = began.elapsed().as_secs_f64();
        let wal = wal_position(&admin).await - before;

        let deliveries = events * u64::from(subscriptions.unsigned_abs());
        assert_eq!(drained.iter().sum::<u64>(), deliveries, "each event once for each subscription");
        let of_each = |total: f64| total / deliveries as f64;
        Self {
            rate: deliveries as f64 / took,
            wal: of_each(wal),
            dead: of_each(dead_tuples(&admin, design, deliveries).await),
            published_wal: published / events as f64,
        }
    }
}

/// Claims and acknowledges until nothing is left, one subscription after the other; the consumers start with different ones.
/// An acknowledgement is sent together with the next claim, as the runtime does not wait for the one before the other.
async fn consume(client: &Client, design: Design, subscriptions: i32, number: usize) -> u64 {
    let process = client
        .query_one("select pubsub.register_process('localhost', 1, 'bench')", &[])
        .await
        .expect("a process")
        .get::<_, i64>(0);
    let claim = client.prepare(&design.claim()).await.expect("a claim");
    let acknowledge = client.prepare(design.acknowledge()).await.expect("an acknowledgement");
    let acknowledged = async |rows: Vec<Row>| match (design, rows.first()) {
        (_, None) => Ok(Vec::new()),
        (Design::Log, Some(first)) => client.query(&acknowledge, &[&process, &first.get::<_, i64>(0)]).await,
        (Design::Queue | Design::AsyncQueue, Some(_)) => {
            let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
            client.query(&acknowledge, &[&ids]).await
        }
    };
    let claimed = async |subscription: i32| match design {
        Design::Log => client.query(&claim, &[&subscription, &process]).await,
        Design::Queue | Design::AsyncQueue => client.query(&claim, &[&subscription]).await,
    };
    let mut left: VecDeque<i32> = (1..=subscriptions).collect();
    let first = number % left.len();
    left.rotate_left(first);
    let mut drained = 0;
    let mut held = Vec::new();
    while let Some(subscription) = left.pop_front() {
        let (done, rows) = join(acknowledged(held), claimed(subscription)).await;
        done.expect("acknowledged events");
        held = rows.expect("claimed events");
        drained += held.len() as u64;
        if !held.is_empty() {
            left.push_back(subscription);
        }
    }
    drained
}

/// What vacuum would have to remove now. The consumers' sessions have ended; what they did is counted a little later.
async fn dead_tuples(admin: &Client, design: Design, deliveries: u64) -> f64 {
    let (tables, done) = match design {
        // A lease for a hundred deliveries, inserted and deleted.
        Design::Log => ("schemaname = 'pubsub'", deliveries / 100),
        Design::Queue | Design::AsyncQueue => ("relname = 'queue'", deliveries),
    };
    let sum = |column| format!("select sum({column})::float8 from pg_stat_user_tables where {tables}");
    let until = Instant::now() + STATISTICS;
    while number(admin, &sum("n_tup_del")).await < done as f64 {
        assert!(Instant::now() < until, "the statistics do not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    number(admin, &sum("n_dead_tup")).await
}
