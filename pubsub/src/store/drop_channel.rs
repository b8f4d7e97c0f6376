//! Removing channels.

use super::Target;
use crate::error::Error;
use crate::model::dropped_channel::DroppedChannel;

const DROP_CHANNEL: &str = "select d.subscriptions, d.events from pubsub.drop_channel($1, force => $2) d";

/// Removes a channel that has no subscriptions, with its events, deduplication keys and schemas. Returns how many events there
/// were.
///
/// The call waits for publishers that are in a transaction. Later ones get [`Error::UndeclaredChannel`], until a process
/// declares the channel again. Only the schema's owner may call it.
///
/// # Examples
/// ```no_run
/// # async fn example() -> Result<(), pubsub::Error> {
/// let dropped = pubsub::admin::drop_channel("postgres://localhost/shop", "sms").await?;
/// println!("removed with {} events", dropped.events);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`Error::InUse`] if the channel has subscriptions; [`Error::UndeclaredChannel`]; a connection error; or the database's own
/// errors. It gives up after 10 s if a publisher's transaction stays open that long.
///
/// # Cancel safety
/// Dropping the future leaves unknown whether the channel was removed. It is safe to call again.
pub async fn drop_channel(
    target: impl TryInto<Target, Error: Into<Error>>,
    channel: &str,
) -> Result<DroppedChannel, Error> {
    call(&target.try_into().map_err(Into::into)?, channel, false).await
}

/// Removes a channel together with its subscriptions and everything that they have left to deliver. Otherwise like
/// [`drop_channel`].
///
/// # Errors
/// [`Error::UndeclaredChannel`]; a connection error; or the database's own errors.
///
/// # Cancel safety
/// As [`drop_channel`].
pub async fn force_drop_channel(
    target: impl TryInto<Target, Error: Into<Error>>,
    channel: &str,
) -> Result<DroppedChannel, Error> {
    call(&target.try_into().map_err(Into::into)?, channel, true).await
}

async fn call(target: &Target, channel: &str, force: bool) -> Result<DroppedChannel, Error> {
    target
        .alone("drop a channel", async |client| {
            let row = client.query_one(DROP_CHANNEL, &[&channel, &force]).await?;
            let count = |column| row.try_get::<_, i64>(column).map(i64::unsigned_abs);
            Ok(DroppedChannel { subscriptions: count(0)?, events: count(1)? })
        })
        .await
}
