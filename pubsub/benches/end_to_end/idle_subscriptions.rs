//! `idle_N_…`: the cost of a process with 1, 100 and 1,000 subscriptions that have nothing to do.
//!
//! The process is the benchmark itself, with the default settings. Its threads, descriptors and memory are those that it has more
//! than before it started.

use crate::databases::{connect, database};
use crate::figures::figure;
use pubsub::testing::Server;
use pubsub::{Channel, Delivery, PubSub};
use serde::{Deserialize, Serialize};
use std::fs::{read_dir, read_to_string};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

const SUBSCRIPTIONS: [usize; 3] = [1, 100, 1_000];

/// The wait after the last subscription has fallen asleep: each claims once more after the listener has connected.
const SETTLED: Duration = Duration::from_secs(5);

const OBSERVED_FOR: Duration = Duration::from_secs(30);

/// The length of a tick, in which the kernel counts the time of processes.
const TICK: Duration = Duration::from_millis(10);

/// An event that is never published.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("idle")]
struct Idle {}

pub(crate) async fn run(server: &Server) {
    for number in SUBSCRIPTIONS {
        let url = database(server, &format!("subscriptions_{number}")).await;
        let client = connect(&url).await;
        let before = Size::read();
        let mut builder = PubSub::builder(&url);
        for n in 0..number {
            builder = builder.subscribe_fn(format!("s{n}"), async |_: Delivery<Idle>| Ok(()));
        }
        let process = builder.start().await.expect("a runtime");
        let asleep = "select count(*) from pubsub.waiters where not is_awake and until > now()";
        while client.query_one(asleep, &[]).await.expect("a count").get::<_, i64>(0) < number as i64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(SETTLED).await;
        let (began, first) = (Instant::now(), Work::read(&client).await);
        tokio::time::sleep(OBSERVED_FOR).await;
        let (took, last) = (began.elapsed().as_secs_f64(), Work::read(&client).await);
        let size = Size::read();
        let rate = |of: fn(&Work) -> f64| (of(&last) - of(&first)) / took;
        figure(&format!("idle_{number}_statements"), rate(|work| work.statements), "statements/s");
        figure(&format!("idle_{number}_process"), 100.0 * rate(|work| work.process), "% of a core");
        figure(&format!("idle_{number}_server"), 100.0 * rate(|work| work.server), "% of a core");
        figure(&format!("idle_{number}_threads"), size.threads - before.threads, "threads");
        figure(&format!("idle_{number}_descriptors"), size.descriptors - before.descriptors, "descriptors");
        figure(&format!("idle_{number}_memory"), size.memory - before.memory, "MiB");
        process.drain(Duration::from_secs(60)).await;
    }
}

/// The size of this process.
struct Size {
    threads: f64,
    descriptors: f64,
    /// Resident memory in MiB.
    memory: f64,
}

impl Size {
    fn read() -> Self {
        let status = read_to_string("/proc/self/status").expect("a Linux system");
        let value = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of this name");
            line.split_whitespace().next().and_then(|value| value.parse().ok()).expect("a number")
        };
        let descriptors = read_dir("/proc/self/fd").expect("a Linux system").count() as f64;
        Self { threads: value("Threads:"), descriptors, memory: value("VmRSS:") / 1024.0 }
    }
}

/// The work since the start.
struct Work {
    /// The transactions of the database. Each statement of the library is one.
    statements: f64,
    /// The time that this process has worked, in seconds.
    process: f64,
    /// The time that the server's processes have worked, in seconds.
    server: f64,
}

impl Work {
    async fn read(client: &Client) -> Self {
        let sql = "select d.xact_commit + d.xact_rollback, pg_backend_pid()
                     from pg_stat_database d
                    where d.datname = current_database()";
        let row = client.query_one(sql, &[]).await.expect("figures of the database");
        let backend = Times::read(row.get::<_, i32>(1)).expect("its session lives");
        Self {
            statements: row.get::<_, i64>(0) as f64,
            process: Times::read("self").expect("this process lives").own,
            server: server_time(backend.parent),
        }
    }
}

/// Returns the time that the server's processes have worked, also those that have ended.
fn server_time(server: i32) -> f64 {
    let processes = read_dir("/proc").expect("a Linux system").flatten();
    let all = processes.filter_map(|entry| Times::read(entry.file_name().to_str()?));
    let children: f64 = all.filter(|times| times.parent == server).map(|times| times.own).sum();
    let server = Times::read(server).expect("the server lives");
    server.own + server.of_ended_children + children
}

/// The times that a process has worked, in seconds.
struct Times {
    parent: i32,
    own: f64,
    of_ended_children: f64,
}

impl Times {
    /// Reads the times of a process, unless it has ended.
    fn read(process: impl std::fmt::Display) -> Option<Self> {
        let stat = read_to_string(format!("/proc/{process}/stat")).ok()?;
        // The fields after the name, which is in parentheses and may contain spaces.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let seconds =
            |at: usize| -> Option<f64> { Some(fields.get(at)?.parse::<f64>().ok()? * TICK.as_secs_f64()) };
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own: seconds(11)? + seconds(12)?,
            of_ended_children: seconds(13)? + seconds(14)?,
        })
    }
}
