//! Going to sleep. The protocol is in `migrations/V3__publish_and_bell.sql`.

use super::claim::STOP_WAITING;
use super::{Store, seconds};
use crate::error::Error;
use std::time::Duration;

const START_WAITING: &str = "
    select pubsub.start_waiting($1, $2, make_interval(secs => $3)) from set_config('synchronous_commit', 'off', true)";

/// How long a waiter row counts. A process that dies asleep makes publishers ring for nobody for this long.
pub(crate) const WAITER_TTL: Duration = Duration::from_secs(10);

impl Store {
    /// Writes the waiter row, or renews it.
    pub(crate) async fn start_waiting(&self, subscription: i32, process: i64) -> Result<(), Error> {
        self.query("write a waiter row", START_WAITING, &[&subscription, &process, &seconds(WAITER_TTL)])
            .await?;
        Ok(())
    }

    /// Takes the waiter row away: publishers need not ring any more.
    pub(crate) async fn stop_waiting(&self, subscription: i32, process: i64) -> Result<(), Error> {
        self.query("remove a waiter row", STOP_WAITING, &[&subscription, &process]).await?;
        Ok(())
    }
}
