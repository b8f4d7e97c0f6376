//! What the log keeps, and for whom: partitions from their making to their end, and subscriptions that are not read.

use super::connect::Target;
use super::{Store, seconds};
use crate::error::{Error, error_chain, from_database};
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

/// Longest wait for the transactions that use the log, when a partition leaves it. Nobody waits for us meanwhile but other
/// maintenance.
const PATIENCE: Duration = Duration::from_secs(30);

/// On top of the server's own limit.
const SLACK: Duration = Duration::from_secs(5);

/// Steps in one go; a partition takes two.
const MOST_STEPS: usize = 100;

/// Dedupe keys that are forgotten in one transaction, and transactions in one go: more than anybody publishes meanwhile.
const DEDUPE_BATCH: i32 = 10_000;
const MOST_DEDUPE_BATCHES: usize = 50;

/// A subscription whose events lie unread.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unread {
    pub(crate) channel: String,
    pub(crate) subscription: String,
    /// The first event that waits.
    pub(crate) event: i64,
    pub(crate) unread_for: Duration,
    /// When it is suspended; `None` for never.
    pub(crate) limit: Option<Duration>,
}

/// What became of partitions that nobody needs any more.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Removal {
    /// The statements that did what they should, in their order.
    pub(crate) done: Vec<String>,
    /// The one that somebody's transaction did not let through.
    pub(crate) held_up: Option<String>,
}

impl Store {
    /// Makes the log's next partitions. Returns how many.
    pub(crate) async fn ensure_partitions(&self) -> Result<i64, Error> {
        let sql = "select pubsub.ensure_partitions()::bigint";
        self.query_value("make partitions of the log", sql, &[]).await
    }

    /// Notes which partitions are full and will not change any more. Returns how many.
    pub(crate) async fn close_partitions(&self) -> Result<i64, Error> {
        self.query_value("close partitions of the log", "select pubsub.close_partitions()::bigint", &[]).await
    }

    /// Brings a partition that has been in use for long enough nearer to its end. Returns how many ids it lost.
    pub(crate) async fn skip_ids(&self) -> Result<i64, Error> {
        self.query_value("skip ids of the log", "select pubsub.skip_ids()", &[]).await
    }

    /// Moves on the cursors of subscriptions that have nothing to read. Returns how many.
    pub(crate) async fn advance_idle_cursors(&self) -> Result<i64, Error> {
        let sql = "select pubsub.advance_idle_cursors()::bigint";
        self.query_value("move idle cursors on", sql, &[]).await
    }

    /// Forgets dedupe keys whose window is over. Returns how many.
    pub(crate) async fn forget_dedupe_keys(&self) -> Result<i64, Error> {
        let mut total = 0;
        for _ in 0..MOST_DEDUPE_BATCHES {
            let sql = "select pubsub.forget_dedupe_keys($1)";
            let forgotten: i64 = self.query_value("forget dedupe keys", sql, &[&DEDUPE_BATCH]).await?;
            total += forgotten;
            if forgotten < i64::from(DEDUPE_BATCH) {
                break;
            }
        }
        Ok(total)
    }

    /// Subscriptions whose events have lain unread for longer than this.
    pub(crate) async fn unread(&self, older_than: Duration) -> Result<Vec<Unread>, Error> {
        let rows = self.query("look for unread subscriptions", UNREAD, &[&seconds(older_than)]).await?;
        Ok(rows.iter().map(unread).collect())
    }

    /// Suspends the subscriptions that have been unread for longer than their limit. Returns them.
    pub(crate) async fn suspend_unread(&self) -> Result<Vec<Unread>, Error> {
        let rows = self.query("suspend unread subscriptions", SUSPEND, &[]).await?;
        Ok(rows.iter().map(unread).collect())
    }

    /// Brings a suspended subscription back. Returns how many events it missed.
    pub(crate) async fn resume(&self, channel: &str, subscription: &str) -> Result<u64, Error> {
        let sql = "select pubsub.resume($1, $2)";
        let missed: i64 = self.query_value("resume a subscription", sql, &[&channel, &subscription]).await?;
        Ok(missed.unsigned_abs())
    }

    /// How long a channel's events stay in the log after everybody has read them; `None` is for ever.
    pub(crate) async fn set_retention(
        &self,
        channel: &str,
        retention: Option<Duration>,
    ) -> Result<(), Error> {
        let retention = retention.map(seconds);
        self.query("set a channel's retention", SET_RETENTION, &[&channel, &retention]).await?;
        Ok(())
    }

    /// After how long a subscription that does not read is suspended; `None` is never.
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

    /// Whether a partition can go a step further on its way out of the log.
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
    /// Helps partitions that nobody needs any more out of the log. On a connection of its own: the statements wait for the
    /// transactions of others, for longer than any other of ours may, and must stand outside of a transaction.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. What was begun is finished by whoever looks next.
    pub(crate) async fn remove_partitions(&self) -> Result<Removal, Error> {
        let (client, connection) = in_time(self.connect()).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = error_chain(&error), "a connection ended");
            }
        });
        let removal = remove(&client).await;
        drop(client);
        driver.abort();
        removal
    }
}

async fn remove(client: &Client) -> Result<Removal, Error> {
    let failed = |source| from_database(DOING, source);
    let patience = format!("set statement_timeout = {}", PATIENCE.as_millis());
    in_time(async { client.batch_execute(&patience).await.map_err(failed) }).await?;
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
    let deadline = PATIENCE + SLACK;
    tokio::time::timeout(deadline, work)
        .await
        .unwrap_or(Err(Error::Timeout { doing: DOING, after: deadline }))
}

/// Whether somebody's transaction was in the way.
fn is_held_up(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| [SqlState::LOCK_NOT_AVAILABLE, SqlState::QUERY_CANCELED].contains(code))
}
