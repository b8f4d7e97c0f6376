//! Processes: registering, leaving, and taking over from the dead.

use super::{Store, seconds};
use crate::error::Error;
use std::time::Duration;

pub(super) const REGISTER: &str = "select pubsub.register_process($1, $2, $3)";

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
    select a.absent, a.registered from pubsub.absent_processes() a";

impl Store {
    /// Registers this process. Returns its id.
    pub(crate) async fn register_process(&self, host: &str) -> Result<i64, Error> {
        self.query_value("register the process", REGISTER, &[&host, &os_pid(), &env!("CARGO_PKG_VERSION")])
            .await
    }

    /// Returns the processes whose session has ended, and the number of all registered processes. An absent process is dead, or
    /// will be back in a moment.
    pub(crate) async fn absent_processes(&self) -> Result<(Vec<i64>, i64), Error> {
        const DOING: &str = "look for absent processes";
        let rows = self.query(DOING, ABSENT_PROCESSES, &[]).await?;
        Ok(rows.first().map_or((Vec::new(), 0), |row| (row.get(0), row.get(1))))
    }

    /// Declares processes dead that were silent for longer than `silence`, and those of `absent` that are still absent. Makes
    /// orphans of their events.
    pub(crate) async fn reclaim(&self, silence: Duration, absent: &[i64]) -> Result<Vec<DeadProcess>, Error> {
        let rows =
            self.query("take over from dead processes", RECLAIM, &[&seconds(silence), &absent]).await?;
        let dead = |row: &tokio_postgres::Row| DeadProcess {
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

    /// Makes orphans of leases whose process does not exist. Returns the number of events.
    pub(crate) async fn reclaim_strays(&self) -> Result<i64, Error> {
        self.query_value("take over stray leases", "select pubsub.reclaim_strays()", &[]).await
    }

    /// Removes the waiter rows of processes that died asleep. Returns their number.
    pub(crate) async fn remove_expired_waiters(&self) -> Result<i64, Error> {
        self.query_value("remove expired waiters", "select pubsub.remove_expired_waiters()", &[]).await
    }
}

/// Returns the operating system's id of this process.
pub(super) fn os_pid() -> i32 {
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}
