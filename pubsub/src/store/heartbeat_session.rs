//! The session that a process beats from.
//!
//! It has a connection of its own, so that no busy pool can starve it. When the session ends, other processes declare this one
//! dead within a second, so the process must learn of the end at once.

use super::connect::Driver;
use super::process::{REGISTER, os_pid};
use super::seconds;
use super::target::Target;
use crate::error::{Error, from_database};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

const BEAT: &str = "
    select pubsub.beat($1, true, make_interval(secs => $2), make_interval(secs => $3))
      from set_config('synchronous_commit', 'off', true)";

/// A session that beats for this process.
#[derive(Debug)]
pub(crate) struct HeartbeatSession {
    client: Client,
    deadline: Duration,
    _driver: Driver,
}

/// A parameter of a statement that is not prepared.
type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// Resolves when the session has ended.
pub(crate) type SessionEnd = JoinHandle<()>;

impl Target {
    /// Opens a session to beat from, on the current tokio runtime.
    pub(crate) async fn heartbeat_session(
        &self,
        deadline: Duration,
    ) -> Result<(HeartbeatSession, SessionEnd), Error> {
        let (client, connection) = tokio::time::timeout(deadline, self.connect_session())
            .await
            .unwrap_or(Err(Error::Timeout { doing: "connect the heartbeat", after: deadline }))?;
        let (driver, end) = Driver::start(connection);
        Ok((HeartbeatSession { client, deadline, _driver: driver }, end))
    }
}

impl HeartbeatSession {
    /// Registers this process again after it was declared dead. Returns its new id. Events that it has claimed under the old id
    /// since then become orphans. Its death counts for none of its events, because it lives.
    pub(crate) async fn register_again(&self, host: &str, was: i64) -> Result<i64, Error> {
        let _: i64 = self.ask("take over stray leases", "select pubsub.reclaim_strays()", &[], value).await?;
        let registration: &[Parameter<'_>] = &[
            (&host, Type::TEXT),
            (&os_pid(), Type::INT4),
            (&env!("CARGO_PKG_VERSION"), Type::TEXT),
            (&was, Type::INT8),
        ];
        self.ask("register the process", REGISTER, registration, value).await
    }

    /// Records a heartbeat. Returns false if the process was declared dead. `grace` is how long the process may be without a
    /// session, and `pause` the longest time between two beats that is no interruption.
    pub(crate) async fn beat(&self, process: i64, grace: Duration, pause: Duration) -> Result<bool, Error> {
        let (grace, pause) = (seconds(grace), seconds(pause));
        let parameters: &[Parameter<'_>] =
            &[(&process, Type::INT8), (&grace, Type::FLOAT8), (&pause, Type::FLOAT8)];
        self.ask("record a heartbeat", BEAT, parameters, value).await
    }

    /// Whether the session has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.client.is_closed()
    }

    pub(super) async fn ask<T>(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: &[Parameter<'_>],
        read: impl FnOnce(&Row) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, Error> {
        // Not prepared, to save a round trip: a process whose session was cut has little time to return.
        let asking = async {
            let rows = self.client.query_typed(sql, parameters).await?;
            read(rows.first().expect("a function that returns a value returns one row"))
        };
        tokio::time::timeout(self.deadline, asking)
            .await
            .map_err(|_| Error::Timeout { doing, after: self.deadline })?
            .map_err(|source| from_database(doing, source))
    }
}

/// Reads the only value of a row.
fn value<T: for<'a> FromSql<'a>>(row: &Row) -> Result<T, tokio_postgres::Error> {
    row.try_get(0)
}
