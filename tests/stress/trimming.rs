//! Retention under load: partitions of a few hundred ids are removed as soon as possible, while events are published late
//! and rolled back, batches are held, and deliveries fail and are retried. No partition leaves before every subscription
//! has its events.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::database::{Database, Result};

const PUBLISHERS: u64 = 6;

/// The subscriptions, the number of their lanes, and the number of their claimers.
const SUBSCRIPTIONS: [(&str, i32, usize); 3] = [("alone", 0, 1), ("competing", 0, 3), ("ordered", 4, 2)];

/// A log with small partitions and no retention.
pub(crate) const SMALL_PARTITIONS: &str = "
    select pubsub.declare_channel('observed'), pubsub.declare_channel('other'), pubsub.declare_channel('quiet');
    select pubsub.set_retention('observed', '0'), pubsub.set_retention('other', '0'), pubsub.set_retention('quiet', '0');
    select setval('pubsub.db_events_id_seq', 29999999900);
    select pubsub.ensure_partitions(10000, 250);
    create table public.published (id bigint primary key);";

/// The outcome of a run.
pub(crate) struct Report {
    pub(crate) published: usize,
    pub(crate) removed: i64,
    /// Events that were never delivered, by subscription.
    pub(crate) lost: Vec<(&'static str, usize)>,
}

impl Report {
    pub(crate) fn is_clean(&self) -> bool {
        self.lost.iter().all(|(_, lost)| *lost == 0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, {} partitions removed, lost {:?}", self.published, self.removed, self.lost)
    }
}

/// The progress of the load.
#[derive(Default)]
struct Progress {
    over: AtomicBool,
    /// The number of running consumers.
    consuming: AtomicUsize,
    /// The number of removed partitions.
    removed: AtomicI64,
}

/// Registers a process and returns its id.
pub(crate) async fn register(client: &Client) -> Result<i64> {
    Ok(client.query_one("select pubsub.register_process('localhost', 1, 'test')", &[]).await?.get(0))
}

/// Runs for `duration`, and until `least` partitions are removed.
pub(crate) async fn run(seed: u64, duration: Duration, least: i64) -> Result<Report> {
    let database = Database::create().await?;
    let admin = database.connect().await?;
    admin.batch_execute(SMALL_PARTITIONS).await?;
    admin.query_one("select pubsub.subscribe('quiet', 'idle')", &[]).await?;

    let processes: [i64; 2] = [register(&admin).await?, register(&admin).await?];
    let progress = Arc::new(Progress::default());
    let (mut consumers, mut publishers) = (JoinSet::new(), JoinSet::new());
    for (of, &(name, lanes, count)) in SUBSCRIPTIONS.iter().enumerate() {
        let subscribe = "select pubsub.subscribe('observed', $1, lanes => $2)";
        let subscription: i32 = admin.query_one(subscribe, &[&name, &lanes]).await?.get(0);
        for nth in 0..count {
            let consumer = Consumer {
                client: database.connect().await?,
                rng: Rng::with_seed(seed.wrapping_mul(31).wrapping_add((10 * of + nth) as u64)),
                subscription,
                // Each process claims from its own lanes of an ordered subscription.
                process: processes[if lanes > 0 { nth } else { 0 }],
                progress: Arc::clone(&progress),
                done: HashSet::new(),
            };
            progress.consuming.fetch_add(1, Ordering::Relaxed);
            consumers.spawn(async move { consumer.run().await.map(|done| (of, done)) });
        }
    }
    for number in 0..PUBLISHERS {
        let rng = Rng::with_seed(seed.wrapping_add(number));
        publishers.spawn(publish(database.connect().await?, rng, Arc::clone(&progress)));
    }
    let tidier = tokio::spawn(maintain(database.connect().await?, Arc::clone(&progress)));
    let trimmer = tokio::spawn(trim(database.connect().await?, Arc::clone(&progress)));

    tokio::time::sleep(duration).await;
    while progress.removed.load(Ordering::Relaxed) < least {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    progress.over.store(true, Ordering::Relaxed);
    while let Some(publisher) = publishers.join_next().await {
        publisher??;
    }
    let mut done = vec![HashSet::new(); SUBSCRIPTIONS.len()];
    while let Some(consumer) = consumers.join_next().await {
        let (of, ids) = consumer??;
        done[of].extend(ids);
    }
    tidier.await??;
    trimmer.await??;
    let removed = progress.removed.load(Ordering::Relaxed);
    let published = admin.query("select id from public.published", &[]).await?;
    let lost = |of: &usize| published.iter().filter(|row| !done[*of].contains(&row.get::<_, i64>(0))).count();
    let lost = (0..SUBSCRIPTIONS.len()).map(|of| (SUBSCRIPTIONS[of].0, lost(&of))).collect();
    Ok(Report { published: published.len(), removed, lost })
}

/// Publishes, sometimes late and sometimes in a transaction that rolls back, and records the events in the same
/// transaction.
async fn publish(client: Client, mut rng: Rng, progress: Arc<Progress>) -> Result<()> {
    let insert = client
        .prepare(
            "with e as (
                 insert into pubsub.db_events (channel, key, payload)
                 select case when n % 10 = 0 then 'other' else 'observed' end, (random() * 300)::integer::text, '{}'
                   from generate_series(1, $1) n
                 returning id, channel
             )
             insert into public.published select id from e where channel = 'observed'",
        )
        .await?;
    while !progress.over.load(Ordering::Relaxed) {
        // No faster than the consumers can follow.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..40))).await;
        client.batch_execute("begin").await?;
        client.execute(&insert, &[&rng.i32(1..20)]).await?;
        if rng.u8(..4) == 0 {
            tokio::time::sleep(Duration::from_millis(rng.u64(0..60))).await;
        }
        client.batch_execute(if rng.u8(..10) == 0 { "rollback" } else { "commit" }).await?;
    }
    Ok(())
}

/// Performs the janitor's steps before a removal.
async fn maintain(client: Client, progress: Arc<Progress>) -> Result<()> {
    while progress.consuming.load(Ordering::Relaxed) > 0 {
        for task in ["ensure_partitions(10000, 250)", "close_partitions()", "advance_idle_cursors()"] {
            client.query_one(&format!("select pubsub.{task}"), &[]).await?;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Removes all removable partitions, and counts them.
async fn trim(client: Client, progress: Arc<Progress>) -> Result<()> {
    client.batch_execute("set statement_timeout = '2s'").await?;
    while progress.consuming.load(Ordering::Relaxed) > 0 {
        while let Some(statement) =
            client.query_one("select pubsub.next_removal('0')", &[]).await?.get::<_, Option<String>>(0)
        {
            match client.batch_execute(&statement).await {
                Ok(()) => {
                    progress.removed.fetch_add(statement.starts_with("select").into(), Ordering::Relaxed);
                }
                // A transaction blocked it.
                Err(error) if ["57014", "55P03"].contains(&error.code().map_or("", |code| code.code())) => {
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

struct Consumer {
    client: Client,
    rng: Rng,
    subscription: i32,
    process: i64,
    progress: Arc<Progress>,
    done: HashSet<i64>,
}

impl Consumer {
    async fn run(mut self) -> Result<HashSet<i64>> {
        // The time since which nothing has arrived, after everything was published.
        let mut quiet = None;
        loop {
            let over = self.progress.over.load(Ordering::Relaxed);
            let batch = self.rng.i32(1..80);
            let mut moved = self.take("select token, id from pubsub.claim($1, $2, $3)", batch).await?;
            moved |= self.take("select token, id from pubsub.claim_mailbox($1, $2, $3)", batch).await?;
            if moved || !over {
                quiet = None;
            } else if quiet.get_or_insert_with(Instant::now).elapsed() > Duration::from_millis(500) {
                break;
            }
            if !moved {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        self.progress.consuming.fetch_sub(1, Ordering::Relaxed);
        Ok(self.done)
    }

    /// Claims, waits, and settles. Some events fail and must be retried.
    async fn take(&mut self, claim: &str, batch: i32) -> Result<bool> {
        let rows = self.client.query(claim, &[&self.subscription, &self.process, &batch]).await?;
        if self.rng.u8(..4) == 0 {
            tokio::time::sleep(Duration::from_millis(self.rng.u64(0..40))).await;
        }
        let mut tokens: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
        tokens.dedup();
        for token in tokens {
            let ids = rows.iter().filter(|row| row.get::<_, i64>(0) == token).map(|row| row.get::<_, i64>(1));
            let (failed, done): (Vec<_>, Vec<_>) = ids.partition(|_| self.rng.u8(..50) == 0);
            let settle = "select pubsub.settle($1, $2, null, (
                              select coalesce(jsonb_agg(jsonb_build_object('id', id, 'action', 'retry')), '[]')
                                from unnest($3::bigint[]) id
                          ))";
            let settled: bool =
                self.client.query_one(settle, &[&self.process, &token, &failed]).await?.get(0);
            if !settled {
                return Err(format!("lease {token} was lost").into());
            }
            self.done.extend(done);
        }
        Ok(!rows.is_empty())
    }
}
