//! Declaring channels and subscribing to them.

use super::publish::stored;
use super::{Parameters, Store};
use crate::error::{Error, from_database};
use crate::model::settings::SubscriptionSettings;
use crate::model::unsubscribed::Unsubscribed;
use jiff::Timestamp;
use tokio_postgres::Row;

const DECLARE: &str = "select pubsub.declare_channel($1, $2, $3)";

const DECLARE_VERSION: &str = "select pubsub.declare_version($1, $2, $3)";

const SUBSCRIBE: &str = "select pubsub.subscribe($1, $2, $3, $4, $5, $6, $7)";

const UNSUBSCRIBE: &str = "
    select u.unread, u.leased, u.waiting, u.dead_letters from pubsub.unsubscribe($1, $2, force => $3) u";

const STOP_RUNNING: &str = "select pubsub.stop_running($1, $2)";

impl Store {
    /// Declares a channel, or updates its version and description.
    pub(crate) async fn declare_channel(
        &self,
        name: &str,
        version: u32,
        description: &str,
    ) -> Result<(), Error> {
        let version = i32::try_from(version).unwrap_or(i32::MAX);
        self.query("declare a channel", DECLARE, &[&name, &version, &description]).await?;
        Ok(())
    }

    /// Declares the shape that a version of a channel's payload has here; 0 is unknown. Returns when the version was last
    /// declared, if that was with another shape.
    pub(crate) async fn declare_version(
        &self,
        channel: &str,
        version: u32,
        fingerprint: u64,
    ) -> Result<Option<Timestamp>, Error> {
        let Some(fingerprint) = stored(fingerprint) else { return Ok(None) };
        let version = i32::try_from(version).unwrap_or(i32::MAX);
        self.query_value("declare a version", DECLARE_VERSION, &[&channel, &version, &fingerprint]).await
    }

    /// Subscribes, or updates the subscription's settings. Returns its id.
    pub(crate) async fn subscribe(&self, settings: &SubscriptionSettings) -> Result<i32, Error> {
        let SubscriptionSettings { max_attempts, max_panics, max_crashes, lanes, .. } = *settings;
        let [max_attempts, max_panics, max_crashes, lanes] =
            [max_attempts, max_panics, max_crashes, lanes.unwrap_or(0)]
                .map(|limit| i32::try_from(limit).unwrap_or(i32::MAX));
        let parameters: Parameters<'_> = &[
            &settings.channel,
            &&*settings.name,
            &max_attempts,
            &max_panics,
            &lanes,
            &settings.from_beginning,
            &max_crashes,
        ];
        self.query_value("subscribe", SUBSCRIBE, parameters).await
    }

    /// Removes a subscription. With `force`, also if it is in use.
    pub(crate) async fn unsubscribe(
        &self,
        channel: &str,
        name: &str,
        force: bool,
    ) -> Result<Unsubscribed, Error> {
        const DOING: &str = "unsubscribe";
        let rows = self.query(DOING, UNSUBSCRIBE, &[&channel, &name, &force]).await?;
        unsubscribed(&rows[0]).map_err(|source| from_database(DOING, source))
    }

    /// Leaves the lanes of an ordered subscription to other processes.
    pub(crate) async fn stop_running(&self, subscription: i32, process: i64) -> Result<(), Error> {
        self.query("leave the lanes of a subscription", STOP_RUNNING, &[&subscription, &process]).await?;
        Ok(())
    }
}

fn unsubscribed(row: &Row) -> Result<Unsubscribed, tokio_postgres::Error> {
    let count = |column| row.try_get::<_, i64>(column).map(i64::unsigned_abs);
    Ok(Unsubscribed { unread: count(0)?, leased: count(1)?, waiting: count(2)?, dead_letters: count(3)? })
}
