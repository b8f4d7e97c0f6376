//! A reader holds an old partition while its removal is tried repeatedly, beside publishers at a steady rate.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::database::{Database, Result};

/// Events per second, over this many connections.
const RATE: u32 = 2_000;
const PUBLISHERS: u32 = 8;
/// The number of rounds. Quiet and reading take turns, so that both see the same machine.
const ROUNDS: u32 = 3;
/// The interval between two attempts at the removal, and the time limit of each.
const TRY_EVERY: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_millis(900);

const QUIET: u8 = 0;
const READER: u8 = 1;
const BETWEEN: u8 = 2;

/// The durations of publishes, in milliseconds.
struct Times {
    count: usize,
    p50: f64,
    p99: f64,
    longest: f64,
}

impl Times {
    fn of(times: &[(u8, Duration)], phase: u8) -> Self {
        let mut times: Vec<_> = times.iter().filter(|(of, _)| *of == phase).map(|(_, time)| *time).collect();
        times.sort();
        let at = |part: f64| {
            let nth = ((times.len() as f64 * part) as usize).min(times.len().saturating_sub(1));
            times.get(nth).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        Self { count: times.len(), p50: at(0.5), p99: at(0.99), longest: at(1.0) }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, p50, p99, longest } = self;
        write!(f, "{count} publishes, p50 {p50:.2}, p99 {p99:.2}, longest {longest:.1} ms")
    }
}

/// The outcome of a run.
pub(crate) struct Report {
    quiet: Times,
    reader: Times,
    /// The number of failed attempts to remove a partition, and the number of partitions that are gone in the end.
    pub(crate) held_up: u32,
    pub(crate) removed: i64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "removal held up {} times, {} partitions removed; p99 with a reader {:.2} of that without\n  \
             without: {}\n  with:    {}",
            self.held_up,
            self.removed,
            self.reader.p99 / self.quiet.p99,
            self.quiet,
            self.reader
        )
    }
}

pub(crate) async fn run(duration: Duration) -> Result<Report> {
    let database = Database::create().await?;
    let admin = database.connect().await?;
    admin
        .batch_execute(
            "select pubsub.declare_channel('observed'); select pubsub.set_retention('observed', '0')",
        )
        .await?;
    let (over, phase) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(BETWEEN)));
    let mut publishers = JoinSet::new();
    for _ in 0..PUBLISHERS {
        publishers.spawn(publish(database.connect().await?, Arc::clone(&over), Arc::clone(&phase)));
    }
    let turn = duration / (2 * ROUNDS);
    let mut held_up = 0;
    for round in 1..=ROUNDS {
        close_partition(&admin, i64::from(round)).await?;
        phase.store(QUIET, Ordering::Relaxed);
        tokio::time::sleep(turn).await;
        phase.store(READER, Ordering::Relaxed);
        held_up += hold(&database, turn).await?;
        phase.store(BETWEEN, Ordering::Relaxed);
        let left = remove(&database, PATIENCE * 10).await?;
        if let Some(left) = left {
            return Err(format!("the partition has no reader, but cannot be removed: {left}").into());
        }
    }
    over.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    while let Some(publisher) = publishers.join_next().await {
        times.extend(publisher??);
    }
    let gone = "select $1::bigint - count(*) from pubsub.partitions where sealed_at is not null";
    let removed = admin.query_one(gone, &[&i64::from(ROUNDS)]).await?.get(0);
    Ok(Report { quiet: Times::of(&times, QUIET), reader: Times::of(&times, READER), held_up, removed })
}

/// Ends the `nth` partition, and waits until it can be removed.
async fn close_partition(admin: &Client, nth: i64) -> Result<()> {
    let skip = format!("select setval('pubsub.db_events_id_seq', {nth} * 10000000000)");
    admin.batch_execute(&format!("{skip}; select pubsub.ensure_partitions()")).await?;
    loop {
        admin.query_one("select pubsub.close_partitions()", &[]).await?;
        if admin.query_one("select exists (select from pubsub.removal_steps('0'))", &[]).await?.get(0) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads the old partition for this long, while its removal is tried. Returns the number of failed attempts.
async fn hold(database: &Database, turn: Duration) -> Result<u32> {
    let (until, reader) = (Instant::now() + turn, database.connect().await?);
    reader.batch_execute("begin; select count(*) from pubsub.db_events").await?;
    let mut held_up = 0;
    let mut again = tokio::time::interval(TRY_EVERY.min(turn));
    while Instant::now() < until {
        again.tick().await;
        let statement = remove(database, PATIENCE.min(turn)).await?;
        held_up += u32::from(statement.is_some());
    }
    reader.batch_execute("commit").await?;
    Ok(held_up)
}

/// Removes all removable partitions. Returns the statement that was blocked, if any.
async fn remove(database: &Database, patience: Duration) -> Result<Option<String>> {
    let remover = database.connect().await?;
    remover.batch_execute(&format!("set statement_timeout = {}", patience.as_millis())).await?;
    while let Some(statement) =
        remover.query_one("select pubsub.next_removal('0')", &[]).await?.get::<_, Option<String>>(0)
    {
        match remover.batch_execute(&statement).await {
            Ok(()) => {}
            Err(error) if ["57014", "55P03"].contains(&error.code().map_or("", |code| code.code())) => {
                return Ok(Some(statement));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// Publishes its part of the rate, and measures each publish.
async fn publish(client: Client, over: Arc<AtomicBool>, phase: Arc<AtomicU8>) -> Result<Vec<(u8, Duration)>> {
    let statement =
        client.prepare("insert into pubsub.db_events (channel, payload) values ('observed', '{}')").await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) * PUBLISHERS / RATE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut times = Vec::new();
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let (phase, started) = (phase.load(Ordering::Relaxed), Instant::now());
        client.execute(&statement, &[]).await?;
        times.push((phase, started.elapsed()));
    }
    Ok(times)
}
