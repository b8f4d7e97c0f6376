//! Processes: registering, leaving, and taking over from the dead.

use super::{Parameters, Store, seconds};
use crate::error::Error;
use crate::policy::absence::Absence;
use std::time::Duration;
use tokio_postgres::Row;

pub(super) const REGISTER: &str = "select pubsub.register_process($1, $2, $3, $4)";

const RECLAIM: &str = "
    select r.process, r.host, r.os_pid, extract(epoch from r.silent_for)::float8, r.orphans
      from pubsub.reclaim(make_interval(secs => $1), $2) r";

const LEAVE: &str = "select pubsub.leave($1)";

/// A process that was declared dead.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeadProcess {
    pub(crate) process: i64,
    pub(crate) host: String,
    pub(crate) os_pid: i32,
    pub(crate) silent_for: Duration,
    /// The number of its events that became orphans.
    pub(crate) orphans: i64,
}

const ABSENT_PROCESSES: &str = "
    select a.registered, absent.process, extract(epoch from absent.grace)::float8, absent.last_beat
      from pubsub.absent_processes() a
      left join lateral unnest(a.absent, a.graces, a.last_beats) absent (process, grace, last_beat) on true";

impl Store {
    /// Registers this process. Returns its id.
    pub(crate) async fn register_process(&self, host: &str) -> Result<i64, Error> {
        let registration: Parameters<'_> = &[&host, &os_pid(), &env!("CARGO_PKG_VERSION"), &None::<i64>];
        self.query_value("register the process", REGISTER, registration).await
    }

    /// Returns the processes whose session has ended, and the number of all registered processes. An absent process is dead, or
    /// will be back in a moment.
    pub(crate) async fn absent_processes(&self) -> Result<(Vec<Absence>, i64), Error> {
        let rows = self.query("look for absent processes", ABSENT_PROCESSES, &[]).await?;
        let absent = |row: &Row| {
            let process = row.get::<_, Option<i64>>(1)?;
            let grace = Duration::try_from_secs_f64(row.get(2)).unwrap_or(Duration::MAX);
            Some(Absence { process, grace, last_beat: row.get(3) })
        };
        let registered = rows.first().map_or(0, |row| row.get(0));
        Ok((rows.iter().filter_map(absent).collect(), registered))
    }

    /// Declares processes dead that were silent for longer than `silence`, and those of `absent` that are still absent. Makes
    /// orphans of their events.
    pub(crate) async fn reclaim(&self, silence: Duration, absent: &[i64]) -> Result<Vec<DeadProcess>, Error> {
        let rows =
            self.query("take over from dead processes", RECLAIM, &[&seconds(silence), &absent]).await?;
        let dead = |row: &Row| DeadProcess {
            process: row.get(0),
            host: row.get(1),
            os_pid: row.get(2),
            silent_for: Duration::from_secs_f64(row.get::<_, f64>(3).max(0.0)),
            orphans: row.get(4),
        };
        Ok(rows.iter().map(dead).collect())
    }

    /// Returns the deliveries that the process still holds to the mailbox, and ends its registration.
    pub(crate) async fn leave(&self, process: i64) -> Result<i64, Error> {
        self.query_value("leave", LEAVE, &[&process]).await
    }

    /// Makes orphans of leases whose process does not exist, and removes expired waiter rows. Returns the number of events.
    pub(crate) async fn reclaim_strays(&self) -> Result<i64, Error> {
        self.query_value("take over stray leases", "select pubsub.reclaim_strays()", &[]).await
    }
}

/// Returns the operating system's id of this process.
pub(super) fn os_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}
