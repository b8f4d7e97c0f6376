//! Draining: two consumers empty a backlog in batches of 100, from the log and from a queue of the same shape. Each claim and
//! each acknowledgement is a transaction. The events are not decoded.
//!
//! Acknowledgements commit synchronously, and the log's claims asynchronously, as in the runtime. The queue's claims are
//! measured both ways: synchronously, as the libraries with such a queue commit them, and asynchronously. The WAL contains no
//! full pages, because every page was changed for the first time after the only checkpoint.

use crate::databases::{connect, database, number, wal_position};
use crate::figures::{figure, median};
use crate::rounds::Rounds;
use crate::tables::{BATCH, Design};
use futures_util::future::{join, join_all};
use pubsub::testing::Server;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Error, Row, Statement};

/// The backlog.
const EVENTS: u64 = 100_000;

const CONSUMERS: usize = 2;

/// The batches of each consumer that are not measured: from the sixth on, statements run on plans that are kept.
const WARM_UP: usize = 10;

const ROUNDS: usize = 5;

/// The longest wait for the server's statistics.
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
            median(drains.map(|(_, drain)| value(drain)).collect())
        };
        figure(&format!("{}_wal", design.name()), of_design(|drain| drain.wal), "bytes");
        figure(&format!("{}_dead", design.name()), of_design(|drain| drain.dead), "tuples");
    }
}

/// The figures of a drain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    /// Deliveries per second.
    pub(crate) rate: f64,
    /// Bytes of WAL for each delivery.
    pub(crate) wal: f64,
    /// Dead tuples for each delivery.
    pub(crate) dead: f64,
    /// Bytes of WAL for each event when it was published.
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
        admin.batch_execute("vacuum analyze").await.expect("vacuumed tables");

        let mut consumers =
            join_all((0..CONSUMERS).map(|number| Consumer::start(url, design, subscriptions, number))).await;
        let warmed = join_all(consumers.iter_mut().map(|consumer| consumer.drain(WARM_UP))).await;
        let before = wal_position(&admin).await;
        let began = Instant::now();
        let drained = join_all(consumers.iter_mut().map(|consumer| consumer.drain(usize::MAX))).await;
        let took = began.elapsed().as_secs_f64();
        let wal = wal_position(&admin).await - before;
        drop(consumers);

        let deliveries = drained.iter().sum::<u64>();
        let all = events * u64::from(subscriptions.unsigned_abs());
        assert_eq!(deliveries + warmed.iter().sum::<u64>(), all, "each event once for each subscription");
        let of_each = |total: f64| total / deliveries as f64;
        Self {
            rate: deliveries as f64 / took,
            wal: of_each(wal),
            dead: dead_tuples(&admin, design, all).await / all as f64,
            published_wal: published / events as f64,
        }
    }
}

/// A consumer, which claims from one subscription after the other. The consumers begin with different ones. A batch is
/// acknowledged over one connection while the next is claimed over another: the runtime does not wait in between either.
struct Consumer {
    design: Design,
    process: i64,
    claims: (Client, Statement),
    acknowledgements: (Client, Statement),
    /// The subscriptions that may have more events.
    left: VecDeque<i32>,
    /// The events that are claimed and not acknowledged.
    held: Vec<Row>,
}

impl Consumer {
    async fn start(url: &str, design: Design, subscriptions: i32, number: usize) -> Self {
        let [claims, acknowledgements] = [connect(url).await, connect(url).await];
        let process = claims
            .query_one("select pubsub.register_process('localhost', 1, 'bench')", &[])
            .await
            .expect("a process")
            .get(0);
        let claim = claims.prepare(&design.claim()).await.expect("a claim");
        let acknowledge = acknowledgements.prepare(design.acknowledge()).await.expect("an acknowledgement");
        let mut left: VecDeque<i32> = (1..=subscriptions).collect();
        let first = number % left.len();
        left.rotate_left(first);
        Self {
            design,
            process,
            claims: (claims, claim),
            acknowledgements: (acknowledgements, acknowledge),
            left,
            held: Vec::new(),
        }
    }

    /// Drains until nothing is left, or for `most` batches. Returns how many events it has acknowledged.
    async fn drain(&mut self, most: usize) -> u64 {
        let mut drained = 0;
        for _ in 0..most {
            let Some(subscription) = self.left.pop_front() else { break };
            drained += self.held.len() as u64;
            let (rows, done) = join(self.claimed(subscription), self.acknowledged()).await;
            done.expect("acknowledged events");
            self.held = rows.expect("claimed events");
            if !self.held.is_empty() {
                self.left.push_back(subscription);
            }
        }
        drained
    }

    async fn claimed(&self, subscription: i32) -> Result<Vec<Row>, Error> {
        let (client, claim) = &self.claims;
        match self.design {
            Design::Log => client.query(claim, &[&subscription, &self.process]).await,
            Design::Queue | Design::AsyncQueue => client.query(claim, &[&subscription]).await,
        }
    }

    async fn acknowledged(&self) -> Result<Vec<Row>, Error> {
        let (client, acknowledge) = &self.acknowledgements;
        match (self.design, self.held.first()) {
            (_, None) => Ok(Vec::new()),
            (Design::Log, Some(first)) => {
                client.query(acknowledge, &[&self.process, &first.get::<_, i64>(0)]).await
            }
            (Design::Queue | Design::AsyncQueue, Some(_)) => {
                let ids: Vec<i64> = self.held.iter().map(|row| row.get(0)).collect();
                client.query(acknowledge, &[&ids]).await
            }
        }
    }
}

/// Counts the tuples that vacuum would remove. The statistics of the consumers' sessions arrive a little after their end.
async fn dead_tuples(admin: &Client, design: Design, deliveries: u64) -> f64 {
    let (tables, done) = match design {
        // A lease for a hundred deliveries, inserted and deleted.
        Design::Log => ("schemaname = 'pubsub'", deliveries / BATCH),
        Design::Queue | Design::AsyncQueue => ("relname = 'queue'", deliveries),
    };
    let sum = |column| format!("select sum({column})::float8 from pg_stat_user_tables where {tables}");
    let until = Instant::now() + STATISTICS;
    while number(admin, &sum("n_tup_del")).await < done as f64 {
        assert!(Instant::now() < until, "the statistics do not arrive");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    number(admin, &sum("n_dead_tup")).await
}
