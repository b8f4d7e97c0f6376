//! Draining: two consumers empty a backlog in batches of 100, claim and acknowledge each its own transaction, beside a queue
//! of the same shape. What they read is decoded by nobody.
//!
//! The claim commits asynchronously and the acknowledgement as the server's default says, on both sides, as the runtime has
//! it. The WAL holds no pages in full: every page was first changed after the only checkpoint.

use crate::rounds::Rounds;
use crate::tables::Design;
use crate::{connect, database, number, wal_position};
use futures_util::future::join_all;
use pubsub::testing::Server;
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// The backlog.
const EVENTS: u64 = 100_000;

const CONSUMERS: usize = 2;

const ROUNDS: usize = 3;

/// Longest wait for the server's statistics.
const STATISTICS: Duration = Duration::from_secs(30);

pub(crate) async fn run(server: &Server) {
    let mut drains = Vec::new();
    let rounds = Rounds::<2>::play(ROUNDS, async |way| {
        let design = Design::ALL[way];
        let name = format!("drain_{}", drains.len());
        let drain = Drain::measure(&database(server, &name).await, design, EVENTS, 1).await;
        drains.push((way, drain));
        drain.rate
    })
    .await;
    rounds.print(["drain", "queue_drain"], "events/s");
    rounds.print_ratio("drain_to_queue", 0, 1);
    for (unit, of) in [("bytes", (|drain| drain.wal) as fn(&Drain) -> f64), ("tuples", |drain| drain.dead)] {
        for (way, design) in ["drain", "queue_drain"].into_iter().enumerate() {
            let what = if unit == "bytes" { "wal" } else { "dead" };
            let values = drains.iter().filter(|(of, _)| *of == way).map(|(_, drain)| of(drain)).collect();
            crate::figure(&format!("{design}_{what}"), crate::median(values), unit);
        }
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
async fn consume(client: &Client, design: Design, subscriptions: i32, number: usize) -> u64 {
    let process = client
        .query_one("select pubsub.register_process('localhost', 1, 'bench')", &[])
        .await
        .expect("a process")
        .get::<_, i64>(0);
    let claim = client.prepare(design.claim()).await.expect("a claim");
    let acknowledge = client.prepare(design.acknowledge()).await.expect("an acknowledgement");
    let mut left: Vec<i32> = (1..=subscriptions).collect();
    let first = number % left.len();
    left.rotate_left(first);
    let mut drained = 0;
    while !left.is_empty() {
        let subscription = left.remove(0);
        let rows = match design {
            Design::Log => client.query(&claim, &[&subscription, &process]).await,
            Design::Queue => client.query(&claim, &[&subscription]).await,
        }
        .expect("claimed events");
        let Some(first) = rows.first() else { continue };
        match design {
            Design::Log => client.query(&acknowledge, &[&process, &first.get::<_, i64>(0)]).await,
            Design::Queue => {
                let ids: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
                client.query(&acknowledge, &[&ids]).await
            }
        }
        .expect("acknowledged events");
        drained += rows.len() as u64;
        left.push(subscription);
    }
    drained
}

/// What vacuum would have to remove now. The consumers' sessions have ended; what they did is counted a little later.
async fn dead_tuples(admin: &Client, design: Design, deliveries: u64) -> f64 {
    let (tables, done) = match design {
        // A lease for a hundred deliveries, inserted and deleted.
        Design::Log => ("schemaname = 'pubsub'", deliveries / 100),
        Design::Queue => ("relname = 'queue'", deliveries),
    };
    let sum = |column| format!("select sum({column})::float8 from pg_stat_user_tables where {tables}");
    let until = Instant::now() + STATISTICS;
    while number(admin, &sum("n_tup_del")).await < done as f64 {
        assert!(Instant::now() < until, "the statistics do not come");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    number(admin, &sum("n_dead_tup")).await
}
