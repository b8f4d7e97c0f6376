//! The bell: scripted schedules, and random sleeping and publishing.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::database::{Database, Result};
use crate::holes::break_function;
use crate::sleeper::{Look, Protocol, Sleeper, Waking};

/// Channels with their numbers of publishers and sleepers: the busier, the more the publishers' locks overlap; the
/// quieter, the longer a lost wake-up stays lost.
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
/// A sleep without a bell ends after this. Short, so that a lost wake-up is found before the next publisher rings.
const SLEEP_LIMIT: Duration = Duration::from_millis(40);

/// What can be wrong with a bell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum BellVariant {
    Sound,
    /// Sleepers look only once.
    NaiveSleeper,
    /// Sleepers are still said to be awake.
    Sleepwalker,
    /// Publishers do not hold the publishing lock, so a channel always seems quiet.
    WithoutLock,
    /// Publishers of every isolation level believe what they see of the waiters.
    OldSnapshot,
    /// Sleepers write their waiter row, and leave the channel's row as it is.
    UntoldChannel,
}

impl BellVariant {
    async fn install(self, client: &Client) -> Result<()> {
        let after_publish = "pubsub.after_publish()";
        match self {
            Self::Sound | Self::NaiveSleeper | Self::Sleepwalker => Ok(()),
            Self::WithoutLock => {
                let lock = "pg_advisory_xact_lock_shared(hashtext('pubsub.publishing'), hashtext(published.channel))";
                break_function(client, after_publish, &[(lock, "null")]).await
            }
            Self::OldSnapshot => {
                let strict = "current_setting('transaction_isolation') <> 'read committed'";
                break_function(client, after_publish, &[(strict, "false")]).await?;
                break_function(client, "pubsub.ring(text)", &[(strict, "false")]).await
            }
            Self::UntoldChannel => Ok(client
                .batch_execute(
                    "create function public.leave_alone() returns trigger language plpgsql
                     as $$ begin return null; end $$;
                     create trigger leave_alone before update of asleep_until on pubsub.channels
                     for each row execute function public.leave_alone()",
                )
                .await?),
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::NaiveSleeper => Protocol::Naive,
            Self::Sleepwalker => Protocol::Sleepwalking,
            _ => Protocol::Exact,
        }
    }
}

/// A database whose bell is of this variant.
pub(crate) async fn set_up(variant: BellVariant) -> Result<Database> {
    let database = Database::create().await?;
    let admin = database.connect().await?;
    for (channel, _, _) in CHANNELS {
        admin.execute("select pubsub.declare_channel($1)", &[&channel]).await?;
    }
    variant.install(&admin).await?;
    Ok(database)
}

/// A publisher inserts before the sleeper's waiter row, so without ringing, and commits after the sleeper's look. How the
/// sleeper comes to know of the event.
pub(crate) async fn play_insert_before_waiter(variant: BellVariant) -> Result<Waking> {
    let database = set_up(variant).await?;
    let publisher = database.connect().await?;
    let mut sleeper = Sleeper::new(&database, variant.protocol(), SCHEDULED, "sleeper").await?;
    publisher.batch_execute(&format!("begin; {}", insert(SCHEDULED))).await?;
    sleeper.start_waiting().await?;
    let look = sleeper.look().await?;
    publisher.batch_execute("commit").await?;
    match look {
        Look::Found => Err("found an event that is not committed".into()),
        Look::Quiet => sleeper.sleep(Duration::ZERO).await,
        // Not asleep yet: the next look finds the event, which is as good as the bell.
        Look::Publishing => {
            Ok(if sleeper.look().await? == Look::Found { Waking::Rung } else { Waking::Lost })
        }
    }
}

/// A publisher inserts while the sleeper sleeps. How the sleeper wakes.
pub(crate) async fn play_insert_after_waiter(variant: BellVariant) -> Result<Waking> {
    let database = set_up(variant).await?;
    let publisher = database.connect().await?;
    let mut sleeper = Sleeper::new(&database, variant.protocol(), SCHEDULED, "sleeper").await?;
    sleeper.start_waiting().await?;
    if sleeper.look().await? != Look::Quiet {
        return Err("nobody has published yet".into());
    }
    publisher.batch_execute(&insert(SCHEDULED)).await?;
    sleeper.sleep(Duration::ZERO).await
}

/// Falls asleep for shorter and longer than the one before, and returns how many waiter rows count for longer than their
/// channel says.
pub(crate) async fn play_one_sleeper_after_the_other() -> Result<i64> {
    let database = set_up(BellVariant::Sound).await?;
    let client = database.connect().await?;
    let mut outlasting = 0;
    client.execute("select pubsub.subscribe($1, 'sleeper')", &[&SCHEDULED]).await?;
    client
        .batch_execute("select pubsub.register_process('localhost', 1, 'test') from generate_series(1, 3)")
        .await?;
    for (process, ttl) in
        [(1_i64, "1 ms"), (2, "1 minute"), (3, "10 seconds"), (2, "90 seconds"), (1, "1 hour")]
    {
        let sql = format!("select pubsub.start_waiting(1, $1, '{ttl}')");
        client.execute(&sql, &[&process]).await?;
        let sql = "select count(*)
                     from pubsub.waiters w
                     join pubsub.subscriptions s on s.id = w.subscription
                     join pubsub.channels c on c.name = s.channel
                    where w.until > c.asleep_until";
        outlasting += client.query_one(sql, &[]).await?.get::<_, i64>(0);
    }
    Ok(outlasting)
}

/// A publisher takes its snapshot before the sleeper's waiter row, and inserts after it. How the sleeper wakes.
pub(crate) async fn play_snapshot_before_waiter(variant: BellVariant) -> Result<Waking> {
    let database = set_up(variant).await?;
    let publisher = database.connect().await?;
    let mut sleeper = Sleeper::new(&database, variant.protocol(), SCHEDULED, "sleeper").await?;
    publisher.batch_execute("begin isolation level repeatable read; select from pubsub.channels").await?;
    sleeper.start_waiting().await?;
    if sleeper.look().await? != Look::Quiet {
        return Err("nobody has published yet".into());
    }
    publisher.batch_execute(&format!("{}; commit", insert(SCHEDULED))).await?;
    sleeper.sleep(Duration::ZERO).await
}

/// A run of random sleeping and publishing.
#[derive(Clone, Copy)]
pub(crate) struct BellLoad {
    pub(crate) seed: u64,
    /// It lasts at least this long…
    pub(crate) duration: Duration,
    /// …and until there were this many sleeps, unless a wake-up is lost before.
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

/// What became of the sleeps of a run.
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

/// State shared by the tasks of a run.
struct Night {
    load: BellLoad,
    started: Instant,
    counts: Counts,
}

impl Night {
    fn is_over(&self) -> bool {
        let slept_enough = self.counts.sleeps.load(Ordering::Relaxed) >= self.load.sleeps;
        self.counts.lost.load(Ordering::Relaxed) > 0
            || (slept_enough && self.started.elapsed() >= self.load.duration)
    }
}

pub(crate) async fn run(variant: BellVariant, load: BellLoad) -> Result<BellReport> {
    let database = set_up(variant).await?;
    let night = Arc::new(Night { load, started: Instant::now(), counts: Counts::default() });
    let mut tasks = JoinSet::new();
    let mut stream = load.seed.wrapping_mul(100);
    for (channel, publishers, sleepers) in CHANNELS {
        for number in 0..sleepers {
            let sleeper =
                Sleeper::new(&database, variant.protocol(), channel, &format!("sleeper-{number}")).await?;
            stream += 1;
            tasks.spawn(sleep_and_wake(sleeper, Rng::with_seed(stream), Arc::clone(&night)));
        }
        for _ in 0..publishers {
            let client = database.connect().await?;
            stream += 1;
            tasks.spawn(publish_now_and_then(client, channel, Rng::with_seed(stream), Arc::clone(&night)));
        }
    }
    while let Some(finished) = tasks.join_next().await {
        finished??;
    }
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    Ok(BellReport {
        published: read(&night.counts.published),
        sleeps: read(&night.counts.sleeps),
        rung: read(&night.counts.rung),
        idle: read(&night.counts.idle),
        lost: read(&night.counts.lost),
        postponed: read(&night.counts.postponed),
        lasted: night.started.elapsed(),
    })
}

async fn publish_now_and_then(client: Client, channel: &str, mut rng: Rng, night: Arc<Night>) -> Result<()> {
    let insert = insert(channel);
    while !night.is_over() {
        tokio::time::sleep(Duration::from_millis(rng.u64(0..150))).await;
        match rng.u32(..3) {
            0 => client.batch_execute(&insert).await?,
            kind => {
                // Snapshot, insert and commit at three moments; or all with the one old snapshot.
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
        night.counts.published.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

async fn sleep_and_wake(mut sleeper: Sleeper, mut rng: Rng, night: Arc<Night>) -> Result<()> {
    let counts = &night.counts;
    while !night.is_over() {
        // Nobody rings for who is awake: whatever comes meanwhile is found by the look.
        if rng.bool() {
            sleeper.stay_awake().await?;
        }
        while sleeper.claim().await? {}
        // A handler at work.
        tokio::time::sleep(Duration::from_millis(rng.u64(0..25))).await;
        sleeper.start_waiting().await?;
        let look = loop {
            match sleeper.look().await? {
                Look::Publishing => {
                    counts.postponed.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
                look => break look,
            }
        };
        if look == Look::Quiet {
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
