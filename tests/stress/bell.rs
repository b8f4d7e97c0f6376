//! The bell under scripted schedules, and under random sleeping and publishing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::database::{Database, Result};
use crate::holes::break_function;
use crate::sleeper::{Poll, Protocol, Sleeper, Waking};

/// Channels with their numbers of publishers and sleepers. On a busy channel the locks of publishers overlap more; on a
/// quiet one a lost wake-up stays lost for longer.
const CHANNELS: [(&str, usize, usize); 8] = [
    ("first", 1, 1),
    ("second", 1, 3),
    ("third", 1, 3),
    ("fourth", 3, 2),
    ("fifth", 1, 1),
    ("sixth", 1, 3),
    ("seventh", 2, 3),
    ("eighth", 3, 2),
];
/// The channel of the schedules.
const SCHEDULED: &str = CHANNELS[0].0;
/// The longest sleep without a bell. It is short, so that a lost wake-up is found before the next publisher rings.
const SLEEP_LIMIT: Duration = Duration::from_millis(40);

/// A bell, and the ways in which it can be broken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BellVariant {
    Sound,
    /// Sleepers poll only once.
    SinglePoll,
    /// Sleepers are still marked as awake.
    MarkedAwake,
    /// Publishers do not hold the publishing lock, so a channel always seems quiet.
    NoLock,
    /// Publishers of every isolation level trust their snapshot of the waiters.
    OldSnapshot,
    /// Sleepers do not say on which channel they sleep.
    NoChannel,
}

impl BellVariant {
    async fn install(self, client: &Client) -> Result<()> {
        let after_publish = "pubsub.after_publish()";
        match self {
            Self::Sound | Self::SinglePoll | Self::MarkedAwake => Ok(()),
            Self::NoLock => {
                let lock = "pg_try_advisory_xact_lock_shared(hashtext('pubsub.publishing'), hashtext(published.channel))";
                break_function(client, after_publish, &[(lock, "true")]).await
            }
            Self::OldSnapshot => {
                let strict = "current_setting('transaction_isolation') <> 'read committed'";
                break_function(client, after_publish, &[(strict, "false")]).await?;
                break_function(client, "pubsub.ring_bell(text)", &[(strict, "false")]).await
            }
            Self::NoChannel => {
                // As the server prints the function.
                let channel = "s.channel";
                let start_waiting = "pubsub.start_waiting(integer, bigint, interval)";
                break_function(client, start_waiting, &[(channel, "null::text")]).await
            }
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::SinglePoll => Protocol::SinglePoll,
            Self::MarkedAwake => Protocol::MarkedAwake,
            _ => Protocol::Exact,
        }
    }
}

/// Creates a database with this bell.
pub(crate) async fn set_up(variant: BellVariant) -> Result<Database> {
    let database = Database::create().await?;
    let admin = database.connect().await?;
    for (channel, _, _) in CHANNELS {
        admin.execute("select pubsub.declare_channel($1)", &[&channel]).await?;
    }
    variant.install(&admin).await?;
    Ok(database)
}

/// A publisher inserts before the sleeper's waiter row, so it does not ring, and commits after the sleeper's poll. Returns
/// how the sleeper learns of the event.
pub(crate) async fn play_insert_before_waiter(variant: BellVariant) -> Result<Waking> {
    let database = set_up(variant).await?;
    let publisher = database.connect().await?;
    let mut sleeper = Sleeper::new(&database, variant.protocol(), SCHEDULED, "sleeper").await?;
    publisher.batch_execute(&format!("begin; {}", insert(SCHEDULED))).await?;
    sleeper.start_waiting().await?;
    let poll = sleeper.poll().await?;
    publisher.batch_execute("commit").await?;
    match poll {
        Poll::Found => Err("found an event that is not committed".into()),
        Poll::Quiet => sleeper.sleep(Duration::ZERO).await,
        // It does not sleep yet: the next poll finds the event, which is as good as the bell.
        Poll::Publishing => {
            Ok(if sleeper.poll().await? == Poll::Found { Waking::Rung } else { Waking::Lost })
        }
    }
}

/// A publisher inserts while the sleeper sleeps. Returns how the sleeper wakes.
pub(crate) async fn play_insert_after_waiter(variant: BellVariant) -> Result<Waking> {
    let database = set_up(variant).await?;
    let publisher = database.connect().await?;
    let mut sleeper = Sleeper::new(&database, variant.protocol(), SCHEDULED, "sleeper").await?;
    sleeper.start_waiting().await?;
    if sleeper.poll().await? != Poll::Quiet {
        return Err("nobody has published yet".into());
    }
    publisher.batch_execute(&insert(SCHEDULED)).await?;
    sleeper.sleep(Duration::ZERO).await
}

/// A publisher takes its snapshot before the sleeper's waiter row, and inserts after it. Returns how the sleeper wakes.
pub(crate) async fn play_snapshot_before_waiter(variant: BellVariant) -> Result<Waking> {
    let database = set_up(variant).await?;
    let publisher = database.connect().await?;
    let mut sleeper = Sleeper::new(&database, variant.protocol(), SCHEDULED, "sleeper").await?;
    publisher.batch_execute("begin isolation level repeatable read; select from pubsub.channels").await?;
    sleeper.start_waiting().await?;
    if sleeper.poll().await? != Poll::Quiet {
        return Err("nobody has published yet".into());
    }
    publisher.batch_execute(&format!("{}; commit", insert(SCHEDULED))).await?;
    sleeper.sleep(Duration::ZERO).await
}

/// A run of random sleeping and publishing.
#[derive(Clone, Copy)]
pub(crate) struct BellLoad {
    pub(crate) seed: u64,
    /// The least duration of the run.
    pub(crate) duration: Duration,
    /// The least number of sleeps, unless a wake-up is lost before.
    pub(crate) sleeps: u64,
}

#[derive(Default)]
struct Counts {
    published: AtomicU64,
    sleeps: AtomicU64,
    rung: AtomicU64,
    idle: AtomicU64,
    lost: AtomicU64,
    postponed: AtomicU64,
}

/// The outcome of a run.
pub(crate) struct BellReport {
    published: u64,
    pub(crate) sleeps: u64,
    rung: u64,
    idle: u64,
    pub(crate) lost: u64,
    postponed: u64,
    lasted: Duration,
}

impl fmt::Display for BellReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "published {}, sleeps {}, ended by the bell {}, idle {}, lost {}; postponed {} times for a publisher, {:.1} s",
            self.published,
            self.sleeps,
            self.rung,
            self.idle,
            self.lost,
            self.postponed,
            self.lasted.as_secs_f64()
        )
    }
}

/// The state that the tasks of a run share.
struct Run {
    load: BellLoad,
    started: Instant,
    counts: Counts,
}

impl Run {
    fn is_over(&self) -> bool {
        let slept_enough = self.counts.sleeps.load(Ordering::Relaxed) >= self.load.sleeps;
        self.counts.lost.load(Ordering::Relaxed) > 0
            || (slept_enough && self.started.elapsed() >= self.load.duration)
    }
}

pub(crate) async fn run(variant: BellVariant, load: BellLoad) -> Result<BellReport> {
    let database = set_up(variant).await?;
    let run_state = Arc::new(Run { load, started: Instant::now(), counts: Counts::default() });
    let mut tasks = JoinSet::new();
    let mut stream = load.seed.wrapping_mul(100);
    for (channel, publishers, sleepers) in CHANNELS {
        for number in 0..sleepers {
            let sleeper =
                Sleeper::new(&database, variant.protocol(), channel, &format!("sleeper-{number}")).await?;
            stream += 1;
            tasks.spawn(sleep_and_wake(sleeper, Rng::with_seed(stream), Arc::clone(&run_state)));
        }
        for _ in 0..publishers {
            let client = database.connect().await?;
            stream += 1;
            tasks.spawn(publish_now_and_then(
                client,
                channel,
                Rng::with_seed(stream),
                Arc::clone(&run_state),
            ));
        }
    }
    while let Some(finished) = tasks.join_next().await {
        finished??;
    }
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(BellReport {
        published: read(&run_state.counts.published),
        sleeps: read(&run_state.counts.sleeps),
        rung: read(&run_state.counts.rung),
        idle: read(&run_state.counts.idle),
        lost: read(&run_state.counts.lost),
        postponed: read(&run_state.counts.postponed),
        lasted: run_state.started.elapsed(),
    })
}

async fn publish_now_and_then(
    client: Client,
    channel: &str,
    mut rng: Rng,
    run_state: Arc<Run>,
) -> Result<()> {
    let insert = insert(channel);
    while !run_state.is_over() {
        tokio::time::sleep(Duration::from_millis(rng.u64(0..150))).await;
        match rng.u32(..3) {
            0 => client.batch_execute(&insert).await?,
            kind => {
                // Snapshot, insert and commit at three moments, or all with one old snapshot.
                let level = if kind == 1 { "read committed" } else { "repeatable read" };
                client
                    .batch_execute(&format!("begin isolation level {level}; select from pubsub.channels"))
                    .await?;
                tokio::time::sleep(Duration::from_millis(rng.u64(0..30))).await;
                client.batch_execute(&insert).await?;
                tokio::time::sleep(Duration::from_millis(rng.u64(0..60))).await;
                client.batch_execute("commit").await?;
            }
        }
        run_state.counts.published.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn sleep_and_wake(mut sleeper: Sleeper, mut rng: Rng, run_state: Arc<Run>) -> Result<()> {
    let counts = &run_state.counts;
    while !run_state.is_over() {
        // Nobody rings for an awake process: the poll finds the events that arrive meanwhile.
        if rng.bool() {
            sleeper.report_awake().await?;
        }
        while sleeper.claim().await? {}
        // A running handler.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..25))).await;
        sleeper.start_waiting().await?;
        let poll = loop {
            match sleeper.poll().await? {
                Poll::Publishing => {
                    counts.postponed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                poll => break poll,
            }
        };
        if poll == Poll::Quiet {
            let count = match sleeper.sleep(SLEEP_LIMIT).await? {
                Waking::Rung => &counts.rung,
                Waking::Idle => &counts.idle,
                Waking::Lost => &counts.lost,
            };
            count.fetch_add(1, Ordering::Relaxed);
            counts.sleeps.fetch_add(1, Ordering::Relaxed);
        }
        if rng.bool() {
            sleeper.stop_waiting().await?;
        }
    }
    Ok(())
}

fn insert(channel: &str) -> String {
    format!("insert into pubsub.db_events (channel, payload) values ('{channel}', '{{}}')")
}
