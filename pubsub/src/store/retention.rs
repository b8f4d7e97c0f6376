//! Retention: the partitions of the log, from creation to removal, and subscriptions that are not read.

use super::connect::Driver;
use super::target::Target;
use super::{Store, seconds};
use crate::error::{Error, from_database};
use std::time::Duration;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Row};

const UNREAD: &str = "
    select u.channel, u.name, u.event_id, extract(epoch from u.unread_for)::float8,
           extract(epoch from u.unread_limit)::float8
      from pubsub.unread_subscriptions(make_interval(secs => $1)) u";

const SUSPEND: &str = "
    select u.channel, u.name, u.event_id, extract(epoch from u.unread_for)::float8, null::float8
      from pubsub.suspend_unread() u";

const SET_RETENTION: &str = "select pubsub.set_retention($1, make_interval(secs => $2))";

const SET_UNREAD_LIMIT: &str = "select pubsub.set_unread_limit($1, $2, make_interval(secs => $3))";

const DOING: &str = "remove partitions of the log";

/// Longest wait of a removal for the transactions that use the log. Only other maintenance waits for a removal.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// Time that an answer may take beyond the server's own limit.
const SLACK: Duration = Duration::from_secs(5);

/// Most steps of one removal. A partition takes two.
const MOST_STEPS: usize = 100;

/// Deduplication keys that one transaction forgets, and most transactions in a row: together more keys than are published
/// meanwhile.
const DEDUPE_BATCH: i32 = 10_000;
const MOST_DEDUPE_BATCHES: usize = 50;
/// The number of calls in which idle cursors are moved on, some hundred in each.
const MOST_ADVANCES: usize = 50;

/// A subscription whose events lie unread.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unread {
    pub(crate) channel: String,
    pub(crate) subscription: String,
    /// The first unread event.
    pub(crate) event: i64,
    pub(crate) unread_for: Duration,
    /// The time for which events may stay unread before the subscription is suspended; `None` is without limit.
    pub(crate) limit: Option<Duration>,
}

/// The outcome of a removal of partitions.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Removal {
    /// The statements that succeeded, in order.
    pub(crate) done: Vec<String>,
    /// The statement that another transaction delays.
    pub(crate) held_up: Option<String>,
}

impl Store {
    /// Makes the log's next partitions. Returns how many it made.
    pub(crate) async fn ensure_partitions(&self) -> Result<i64, Error> {
        let sql = "select pubsub.ensure_partitions()::bigint";
        self.query_value("make partitions of the log", sql, &[]).await
    }

    /// Notes which partitions are full and final. Returns how many are new.
    pub(crate) async fn close_partitions(&self) -> Result<i64, Error> {
        self.query_value("close partitions of the log", "select pubsub.close_partitions()::bigint", &[]).await
    }

    /// Skips ids of a partition that has been in use for its term. Returns how many.
    pub(crate) async fn skip_ids(&self) -> Result<i64, Error> {
        self.query_value("skip ids of the log", "select pubsub.skip_ids()", &[]).await
    }

    /// Moves on the cursors of lanes with nothing to read. Returns how many.
    pub(crate) async fn advance_idle_cursors(&self) -> Result<i64, Error> {
        let sql = "select pubsub.advance_idle_cursors()::bigint";
        let mut total = 0;
        for _ in 0..MOST_ADVANCES {
            let advanced: i64 = self.query_value("move idle cursors on", sql, &[]).await?;
            total += advanced;
            if advanced == 0 {
                break;
            }
        }
        Ok(total)
    }

    /// Forgets deduplication keys whose window is over. Returns how many.
    pub(crate) async fn forget_dedupe_keys(&self) -> Result<i64, Error> {
        let mut total = 0;
        for _ in 0..MOST_DEDUPE_BATCHES {
            let sql = "select pubsub.forget_dedupe_keys($1)";
            let forgotten: i64 = self.query_value("forget deduplication keys", sql, &[&DEDUPE_BATCH]).await?;
            total += forgotten;
            if forgotten < i64::from(DEDUPE_BATCH) {
                break;
            }
        }
        Ok(total)
    }

    /// Returns the subscriptions whose events have lain unread for longer than `older_than`.
    pub(crate) async fn unread(&self, older_than: Duration) -> Result<Vec<Unread>, Error> {
        let rows = self.query("look for unread subscriptions", UNREAD, &[&seconds(older_than)]).await?;
        Ok(rows.iter().map(unread).collect())
    }

    /// Suspends the subscriptions that have been unread for longer than their limit, and returns them.
    pub(crate) async fn suspend_unread(&self) -> Result<Vec<Unread>, Error> {
        let rows = self.query("suspend unread subscriptions", SUSPEND, &[]).await?;
        Ok(rows.iter().map(unread).collect())
    }

    /// Resumes a suspended subscription. Returns how many events it missed.
    pub(crate) async fn resume(&self, channel: &str, subscription: &str) -> Result<u64, Error> {
        let sql = "select pubsub.resume($1, $2)";
        let missed: i64 = self.query_value("resume a subscription", sql, &[&channel, &subscription]).await?;
        Ok(missed.unsigned_abs())
    }

    /// Sets how long a channel's events stay in the log after every subscription has read them; `None` is without limit.
    pub(crate) async fn set_retention(
        &self,
        channel: &str,
        retention: Option<Duration>,
    ) -> Result<(), Error> {
        let retention = retention.map(seconds);
        self.query("set a channel's retention", SET_RETENTION, &[&channel, &retention]).await?;
        Ok(())
    }

    /// Sets after how long a subscription that does not read is suspended; `None` is never.
    pub(crate) async fn set_unread_limit(
        &self,
        channel: &str,
        subscription: &str,
        limit: Option<Duration>,
    ) -> Result<(), Error> {
        let limit = limit.map(seconds);
        self.query("set a subscription's limit", SET_UNREAD_LIMIT, &[&channel, &subscription, &limit])
            .await?;
        Ok(())
    }

    /// Whether a step of a partition's removal can be taken now.
    pub(crate) async fn is_removal_due(&self) -> Result<bool, Error> {
        let sql = "select exists (select from pubsub.removal_steps())";
        self.query_value("look for expired partitions", sql, &[]).await
    }
}

fn unread(row: &Row) -> Unread {
    let duration = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, 1e12));
    Unread {
        channel: row.get(0),
        subscription: row.get(1),
        event: row.get(2),
        unread_for: duration(row.get(3)),
        limit: row.get::<_, Option<f64>>(4).map(duration),
    }
}

impl Target {
    /// Removes the partitions that the log no longer needs. It uses a connection of its own: the statements must run outside of
    /// a transaction, and wait for other transactions for longer than any other statement may.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. The next removal finishes an interrupted one.
    pub(crate) async fn remove_partitions(&self) -> Result<Removal, Error> {
        let (client, connection) = in_time(self.connect_for(STATEMENT_TIMEOUT)).await?;
        let _driver = Driver::start(connection);
        remove(&client).await
    }
}

async fn remove(client: &Client) -> Result<Removal, Error> {
    let failed = |source| from_database(DOING, source);
    let mut removal = Removal::default();
    for _ in 0..MOST_STEPS {
        let next = async { client.query_one("select pubsub.next_removal()", &[]).await.map_err(failed) };
        let Some(statement) = in_time(next).await?.get::<_, Option<String>>(0) else { break };
        let step = async { Ok(client.batch_execute(&statement).await) };
        match in_time(step).await? {
            Ok(()) => removal.done.push(statement),
            Err(error) if is_held_up(&error) => {
                removal.held_up = Some(statement);
                break;
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(removal)
}

async fn in_time<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let deadline = STATEMENT_TIMEOUT + SLACK;
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or(Err(Error::Timeout { doing: DOING, after: deadline }))
}

/// Whether another transaction blocked the statement.
fn is_held_up(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED].contains(code))
}
