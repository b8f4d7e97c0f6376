//! A transaction stays open while events are published and claimed at a steady rate. A claim and its settlement visit no
//! more pages than before, and no small table grows by more than the rows that were written to it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pubsub::{Channel, Delivery, PubSub};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::database::{Database, Result};

/// Events per second, over this many connections.
const RATE: u32 = 2_000;
const PUBLISHERS: u32 = 4;
/// The number of events that the open transaction publishes.
const LATE: u64 = 500;
/// The pause of a consumer between two claims.
const PAUSE: Duration = Duration::from_millis(2);
/// How many of its claims are between two that are explained.
const EXPLAIN_EVERY: usize = 20;
/// The least number of claims that are explained before the transaction begins, and how many times as many while it is open. A
/// busy machine takes longer for them.
const EXPLAINED: usize = 10;
const EXPLAINED_OPEN: usize = 4;

/// The quantile of the times.
const MEDIAN: f64 = 0.5;
/// The quantile of the pages. What an old snapshot costs, it costs every claim. On a busy machine, publishers that are in flight
/// cost some claims more.
const FEW: f64 = 0.1;

/// The allowed size of a table: a base, and bytes for each row version that was written to it, index entries included. A
/// lease is as long as its batch, so events count too.
const BASE: i64 = 256 * 1024;
const BOUNDS: &[(&str, i64, i64)] = &[
    ("cursors", 300, 0),
    ("leases", 300, 16),
    ("waiters", 200, 0),
    ("processes", 400, 0),
    ("mailbox", 0, 0),
    ("dead_letters", 0, 0),
    ("subscriptions", 0, 0),
    ("channels", 0, 0),
    ("partitions", 0, 0),
];

/// The transaction that stays open.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Blocker {
    /// A snapshot only.
    IdleSnapshot,
    /// A transaction that has published, and commits at the end.
    LongWrite,
}

#[derive(Serialize, Deserialize, Channel)]
#[channel("load")]
struct Load {
    n: u64,
}

/// A small table after the run.
struct Table {
    name: &'static str,
    bytes: i64,
    rows_written: i64,
    bound: i64,
}

/// The outcome of a run.
pub(crate) struct Report {
    published: u64,
    handled: u64,
    claimed: u64,
    /// The time of each claim, and its milliseconds.
    claims: Vec<(Duration, f64)>,
    /// The time of each explained claim and settlement, and the pages that they visited.
    pages: Vec<(Duration, f64)>,
    pinned_at: Duration,
    tables: Vec<Table>,
}

impl Report {
    /// Events that did not arrive at the runtime, and at the timed consumer.
    pub(crate) fn missing(&self) -> (u64, u64) {
        (self.published - self.handled, self.published - self.claimed)
    }

    /// Tables that are larger than allowed.
    pub(crate) fn bloated(&self) -> Vec<&'static str> {
        self.tables.iter().filter(|table| table.bytes > table.bound).map(|table| table.name).collect()
    }

    /// The pages of a claim and a settlement at the end, relative to those before.
    pub(crate) fn growth(&self) -> f64 {
        let (before, at_the_end) = self.before_and_at_the_end(&self.pages, FEW);
        at_the_end / before
    }

    /// The quantiles before the transaction began, and of as many figures at the end.
    fn before_and_at_the_end(&self, figures: &[(Duration, f64)], part: f64) -> (f64, f64) {
        let before = figures.partition_point(|(at, _)| *at < self.pinned_at);
        (quantile(&figures[..before], part), quantile(&figures[figures.len() - before..], part))
    }

    fn end(&self) -> Duration {
        self.claims.last().map_or(Duration::ZERO, |(at, _)| *at)
    }
}

fn quantile(figures: &[(Duration, f64)], part: f64) -> f64 {
    let mut figures: Vec<_> = figures.iter().map(|(_, figure)| *figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get((figures.len() as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.end();
        let (start, last) = self.before_and_at_the_end(&self.claims, MEDIAN);
        let (few, many) = self.before_and_at_the_end(&self.pages, FEW);
        write!(
            f,
            "{} events, {} claims, {:.0} s\n  \
             claim p50 {start:.2} ms before, {last:.2} ms at the end, ratio {:.2}\n  \
             pages per claim and settlement {few} before, {many} at the end, ratio {:.2}",
            self.published,
            self.claims.len(),
            end.as_secs_f64(),
            last / start,
            self.growth(),
        )?;
        let step = (end / 10).max(Duration::from_secs(1));
        write!(f, "\n  claim p50 over time, ms:")?;
        let mut from = Duration::ZERO;
        while from < end {
            let index = |time| self.claims.partition_point(|(at, _)| *at < time);
            write!(f, " {:.2}", quantile(&self.claims[index(from)..index(from + step)], MEDIAN))?;
            from += step;
        }
        for Table { name, bytes, rows_written, bound } in &self.tables {
            write!(f, "\n  {name}: {} kB of {} kB, {rows_written} rows written", bytes / 1024, bound / 1024)?;
        }
        Ok(())
    }
}

/// Loads the log for `duration`, or until enough claims are explained. The blocker is open for all but the first tenth of it.
pub(crate) async fn run(blocker: Blocker, duration: Duration) -> Result<Report> {
    let database = Database::create().await?;
    let admin = database.connect().await?;
    let handled = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&handled);
    let pubsub = PubSub::builder(database.url())
        .subscribe_fn("handled", move |_: Delivery<Load>| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(()))
        })
        .start()
        .await?;
    let timed: i32 = admin.query_one("select pubsub.subscribe('load', 'timed')", &[]).await?.get(0);
    let process =
        admin.query_one("select pubsub.register_process('localhost', 1, 'test')", &[]).await?.get(0);

    let started = Instant::now();
    let (over, published) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        publishers.spawn(publish(database.connect().await?, Arc::clone(&over), Arc::clone(&published)));
    }
    let explained = Arc::new(AtomicUsize::new(0));
    let client = database.connect().await?;
    let timer =
        TimedConsumer { client, subscription: timed, process, started, explained: Arc::clone(&explained) };
    let all = Arc::new(AtomicU64::new(u64::MAX));
    let timer = tokio::spawn(timer.run(Arc::clone(&all)));

    tokio::time::sleep((duration / 10).max(Duration::from_secs(2))).await;
    until(&explained, EXPLAINED).await;
    let blocking = database.connect().await?;
    let pinned_at = started.elapsed();
    match blocker {
        Blocker::IdleSnapshot => {
            blocking
                .batch_execute("begin isolation level repeatable read; select from pubsub.channels")
                .await?;
        }
        Blocker::LongWrite => {
            let publish = format!(
                "begin; select count(pubsub.publish('load', '{{\"n\": 0}}')) from generate_series(1, {LATE})"
            );
            blocking.batch_execute(&publish).await?;
            published.fetch_add(LATE, Ordering::Relaxed);
        }
    }
    let before = explained.load(Ordering::Relaxed);
    tokio::time::sleep(duration).await;
    until(&explained, (1 + EXPLAINED_OPEN) * before).await;
    over.store(true, Ordering::Relaxed);
    while let Some(publisher) = publishers.join_next().await {
        publisher??;
    }
    let tables = tables(&admin).await?;
    blocking.batch_execute("commit").await?;
    let published = published.load(Ordering::Relaxed);
    all.store(published, Ordering::Relaxed);
    let Figures { claimed, claims, pages } = timer.await??;
    while handled.load(Ordering::Relaxed) < published {
        tokio::time::sleep(PAUSE).await;
    }
    pubsub.drain(Duration::from_secs(10)).await;
    let handled = handled.load(Ordering::Relaxed);
    Ok(Report { published, handled, claimed, claims, pages, pinned_at, tables })
}

/// Waits until this many claims are explained.
async fn until(explained: &AtomicUsize, least: usize) {
    while explained.load(Ordering::Relaxed) < least {
        tokio::time::sleep(PAUSE).await;
    }
}

/// Publishes its part of the rate, one event at a time, and catches up when it is late.
async fn publish(client: Client, over: Arc<AtomicBool>, published: Arc<AtomicU64>) -> Result<()> {
    let statement = client
        .prepare("insert into pubsub.db_events (channel, payload) values ('load', '{\"n\": 1}')")
        .await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) * PUBLISHERS / RATE);
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        client.execute(&statement, &[]).await?;
        published.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A consumer that measures how long its claims take.
struct TimedConsumer {
    client: Client,
    subscription: i32,
    process: i64,
    started: Instant,
    /// The number of explained claims.
    explained: Arc<AtomicUsize>,
}

/// The events and figures of a consumer.
#[derive(Default)]
struct Figures {
    claimed: u64,
    claims: Vec<(Duration, f64)>,
    pages: Vec<(Duration, f64)>,
}

impl TimedConsumer {
    /// Claims until it has all events.
    async fn run(self, all: Arc<AtomicU64>) -> Result<Figures> {
        let claim = self.client.prepare("select token from pubsub.claim($1, $2, 100)").await?;
        let settle = self.client.prepare("select pubsub.settle($1, $2)").await?;
        let beat = self.client.prepare("select pubsub.beat($1, false)").await?;
        let (mut figures, mut beat_at) = (Figures::default(), Instant::now());
        while figures.claimed < all.load(Ordering::Relaxed) {
            let started = Instant::now();
            let events = self.client.query(&claim, &[&self.subscription, &self.process]).await?;
            if let Some(event) = events.first() {
                figures.claims.push((started - self.started, started.elapsed().as_secs_f64() * 1e3));
                figures.claimed += events.len() as u64;
                self.client.query_one(&settle, &[&self.process, &event.get::<_, i64>(0)]).await?;
                if figures.claims.len().is_multiple_of(EXPLAIN_EVERY) {
                    self.explain_both(&mut figures).await?;
                }
            }
            if beat_at.elapsed() > Duration::from_secs(1) {
                beat_at = Instant::now();
                self.client.query_one(&beat, &[&self.process]).await?;
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(figures)
    }

    /// Explains a claim of one event and the settlement of another.
    async fn explain_both(&self, figures: &mut Figures) -> Result<()> {
        let (subscription, process) = (self.subscription, self.process);
        let claim = format!("pubsub.claim({subscription}, {process}, 1)");
        let (claimed, pages_of_claim) = self.explain(&format!("select from {claim}")).await?;
        let newest = "select pubsub.settle(l.process, l.token) from (
                          select * from pubsub.leases l where l.process = $1 order by l.token desc limit 1
                      ) l";
        let event = self.client.query_opt(&format!("select token from {claim}"), &[]).await?;
        if let Some(event) = event {
            let settle = format!("select pubsub.settle({process}, {})", event.get::<_, i64>(0));
            let (_, pages_of_settlement) = self.explain(&settle).await?;
            figures.claimed += 1;
            if claimed > 0.0 {
                figures.pages.push((self.started.elapsed(), pages_of_claim + pages_of_settlement));
                self.explained.store(figures.pages.len(), Ordering::Relaxed);
            }
        }
        if claimed > 0.0 {
            figures.claimed += 1;
            self.client.query_one(newest, &[&self.process]).await?;
        }
        Ok(())
    }

    /// Returns the rows that a statement returns and the pages that it visits.
    async fn explain(&self, sql: &str) -> Result<(f64, f64)> {
        let explain = format!("explain (analyze, buffers, timing off, format json) {sql}");
        let plan: serde_json::Value = self.client.query_one(&explain, &[]).await?.get(0);
        let figure = |name: &str| plan[0]["Plan"][name].as_f64().unwrap_or(f64::NAN);
        Ok((figure("Actual Rows"), figure("Shared Hit Blocks") + figure("Shared Read Blocks")))
    }
}

/// The small tables, with the rows written to them so far.
async fn tables(admin: &Client) -> Result<Vec<Table>> {
    // The statistics become visible a moment later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let events: i64 = admin.query_one("select pubsub.log_sequence()", &[]).await?.get(0);
    let mut tables = Vec::new();
    for &(name, per_row, per_event) in BOUNDS {
        let size = "select pg_total_relation_size(relid), n_tup_ins + n_tup_upd from pg_stat_user_tables \
                     where schemaname = 'pubsub' and relname = $1";
        let row = admin.query_one(size, &[&name]).await?;
        let (bytes, rows_written) = (row.get(0), row.get::<_, i64>(1));
        // Every event is leased twice, once for each subscription.
        let bound = BASE + rows_written * per_row + 2 * events * per_event;
        tables.push(Table { name, bytes, rows_written, bound });
    }
    Ok(tables)
}
