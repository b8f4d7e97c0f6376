//! A turn of a contender: its size, its jobs, and its time.

use crate::child::Child;
use crate::contender::Contender;
use crate::cpu;
use crate::database::Database;
use crate::job::{Job, Role};
use crate::workload::Workload;
use anyhow::{Result, ensure};
use pubsub::testing::Server;
use std::time::{Duration, Instant};

/// The time after which a worker without events has gone to sleep.
pub(super) const ASLEEP: Duration = Duration::from_secs(2);

/// The longest time of one step of a turn. A contender that needs more has fallen behind, and has no figure.
pub(super) const LIMIT: Duration = Duration::from_secs(180);

/// The size of a run, from the command line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    /// The events of a backlog, and of a bulk.
    pub(crate) events: u64,
    /// The time of a publisher, paced or not.
    pub(crate) seconds: f64,
}

/// A contender in a workload.
pub(crate) struct Turn<'a> {
    pub(crate) server: &'a Server,
    pub(crate) database: Database,
    pub(crate) contender: &'a Contender,
    pub(crate) workload: Workload,
    pub(crate) size: Size,
}

/// The figures of a turn, in the order of [`Workload::metrics`]. `None` where the system does not tell.
pub(crate) struct Measured {
    pub(crate) figures: Vec<Option<f64>>,
    /// The calls of handlers beyond one for each event and consumer.
    pub(crate) repeated: u64,
}

impl Turn<'_> {
    /// A job of this turn.
    pub(super) fn job(&self, role: Role) -> Job {
        let mut job = Job::new(&self.database.url, role, self.size.events);
        job.consumers = self.workload.consumers();
        job.connections = self.workload.connections();
        job.seconds = self.size.seconds;
        job.rate = self.workload.rate();
        job.handler = self.workload.handler();
        job.concurrency = self.workload.concurrency();
        job
    }

    /// Publishes all events, and checks that the database has them.
    pub(super) async fn load(&self) -> Result<()> {
        let mut child = Child::start(self.contender, &self.job(Role::Bulk)).await?;
        child.say("go").await?;
        child.listen("done", LIMIT).await?;
        child.wait().await?;
        self.expect_published(self.size.events).await
    }

    pub(super) async fn expect_published(&self, events: u64) -> Result<()> {
        let expected = events * self.workload.consumers() as u64;
        let found = self.database.count(self.contender.published).await?;
        ensure!(found == expected, "{expected} were published, but the database has {found}");
        Ok(())
    }

    pub(super) fn stopwatch(&self, child: &Child) -> Stopwatch {
        let server = self.server.pid();
        Stopwatch {
            began: Instant::now(),
            client: child.cpu(),
            server: server.and_then(cpu::of_server),
            pid: server,
        }
    }
}

/// The time, and the processors' times, since a moment.
pub(super) struct Stopwatch {
    pub(super) began: Instant,
    client: Option<f64>,
    server: Option<f64>,
    pid: Option<u32>,
}

/// The reading of a [`Stopwatch`] for some events.
pub(super) struct Lap {
    /// Events per second.
    pub(super) rate: f64,
    /// The seconds that the contender's process has worked for 100,000 events.
    pub(super) client: Option<f64>,
    /// The same of all processes of the server.
    pub(super) server: Option<f64>,
}

impl Stopwatch {
    pub(super) fn lap(&self, child: &Child, events: u64) -> Lap {
        let rate = events as f64 / self.began.elapsed().as_secs_f64();
        let per_events =
            |now: Option<f64>, before: Option<f64>| Some((now? - before?) * 100_000.0 / events as f64);
        Lap {
            rate,
            client: per_events(child.cpu(), self.client),
            server: per_events(self.pid.and_then(cpu::of_server), self.server),
        }
    }
}
