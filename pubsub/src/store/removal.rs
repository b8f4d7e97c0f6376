//! Removing subscriptions and channels.

use super::{Store, Target};
use crate::error::Error;
use crate::model::removal::{Removal, RemovedChannel, RemovedSubscription};
use tokio_postgres::Row;

const UNSUBSCRIBE: &str =
    "select u.unread, u.leased, u.waiting, u.dead_letters from pubsub.unsubscribe($1, $2, force => $3) u";

const DROP_CHANNEL: &str = "select d.subscriptions, d.events from pubsub.drop_channel($1, force => $2) d";

/// Removes a channel with its events, dedupe keys and schemas.
///
/// A channel with subscriptions is in use: it is removed only with [`Removal::Forced`], and its subscriptions with it.
/// Publishers that are in a transaction are waited for. Later ones get [`Error::UndeclaredChannel`], until a process declares
/// the channel again.
///
/// Only the schema's owner may call it.
///
/// # Examples
/// ```no_run
/// use pubsub::admin::{Removal, drop_channel};
///
/// # async fn example() -> Result<(), pubsub::Error> {
/// let removed = drop_channel("postgres://localhost/shop", "sms", Removal::IfUnused).await?;
/// println!("removed with {} events", removed.events);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::UndeclaredChannel`], [`Error::InUse`], a connection error, or the database's own errors: it gives up after 10 s if a
/// publisher's transaction stays open that long.
///
/// # Cancel safety
/// Dropping the future leaves it open whether the channel was removed. It is safe to call again.
pub async fn drop_channel(
    database_url: &str,
    channel: &str,
    removal: Removal,
) -> Result<RemovedChannel, Error> {
    let force = removal == Removal::Forced;
    let target = Target::parse(database_url)?;
    target
        .alone("remove a channel", async |client| {
            let row = client.query_one(DROP_CHANNEL, &[&channel, &force]).await?;
            Ok(RemovedChannel { subscriptions: count(&row, 0)?, events: count(&row, 1)? })
        })
        .await
}

impl Store {
    /// Removes a subscription with its deliveries.
    pub(crate) async fn unsubscribe(
        &self,
        channel: &str,
        subscription: &str,
        removal: Removal,
    ) -> Result<RemovedSubscription, Error> {
        const DOING: &str = "remove a subscription";
        let force = removal == Removal::Forced;
        let rows = self.query(DOING, UNSUBSCRIBE, &[&channel, &subscription, &force]).await?;
        let row = rows.first().expect("a function that removes something returns one row");
        removed_subscription(row).map_err(|source| Error::Database { doing: DOING, source })
    }
}

fn removed_subscription(row: &Row) -> Result<RemovedSubscription, tokio_postgres::Error> {
    Ok(RemovedSubscription {
        unread: count(row, 0)?,
        leased: count(row, 1)?,
        waiting: count(row, 2)?,
        dead_letters: count(row, 3)?,
    })
}

fn count(row: &Row, column: usize) -> Result<u64, tokio_postgres::Error> {
    row.try_get::<_, i64>(column).map(i64::unsigned_abs)
}
