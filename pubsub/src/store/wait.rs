//! Going to sleep, and waking up. The protocol is in `migrations/functions/bell.sql`.

use super::{Store, seconds};
use crate::error::Error;
use std::time::Duration;

const START_WAITING: &str = "
    select pubsub.start_waiting($1, $2, make_interval(secs => $3)) from set_config('synchronous_commit', 'off', true)";

pub(super) const STAY_AWAKE: &str = "
    select pubsub.stay_awake($1, $2, make_interval(secs => $3)) from set_config('synchronous_commit', 'off', true)";

const STOP_WAITING: &str = "
    select pubsub.stop_waiting($1, $2) from set_config('synchronous_commit', 'off', true)";

/// For how long others need not be rung for once a process has said that it is awake. If it dies meanwhile, what is
/// published waits for the others' poll.
pub(crate) const AWAKE_TTL: Duration = Duration::from_secs(1);

/// How long a waiter row counts. A process that dies asleep makes publishers ring for nobody for this long.
pub(crate) const WAITER_TTL: Duration = Duration::from_secs(10);

impl Store {
    /// Writes the waiter row, or renews it.
    pub(crate) async fn start_waiting(&self, subscription: i32, process: i64) -> Result<(), Error> {
        self.query("write a waiter row", START_WAITING, &[&subscription, &process, &seconds(WAITER_TTL)])
            .await?;
        Ok(())
    }

    /// Takes the waiter row away, and passes the bell on.
    pub(crate) async fn stop_waiting(&self, subscription: i32, process: i64) -> Result<(), Error> {
        self.query("remove a waiter row", STOP_WAITING, &[&subscription, &process]).await?;
        Ok(())
    }
}
