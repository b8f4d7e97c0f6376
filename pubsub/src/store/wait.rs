//! Going to sleep and waking up. The protocol is in `migrations/functions/bell.sql`.

use super::{Store, seconds};
use crate::error::Error;
use crate::policy::dispatch::waiter::WAITER_TTL;

const START_WAITING: &str = "
    select pubsub.start_waiting($1, $2, make_interval(secs => $3)) from set_config('synchronous_commit', 'off', true)";

pub(super) const REPORT_AWAKE: &str = "
    select pubsub.report_awake($1, $2, make_interval(secs => $3)) from set_config('synchronous_commit', 'off', true)";

const STOP_WAITING: &str = "
    select pubsub.stop_waiting($1, $2) from set_config('synchronous_commit', 'off', true)";

const STOP_WAITING_OF: &str = "
    select pubsub.stop_waiting(null, a.process)
      from set_config('synchronous_commit', 'off', true), unnest($1::bigint[]) a (process)";

impl Store {
    /// Writes or renews the waiter row.
    pub(crate) async fn start_waiting(&self, subscription: i32, process: i64) -> Result<(), Error> {
        self.query("write a waiter row", START_WAITING, &[&subscription, &process, &seconds(WAITER_TTL)])
            .await?;
        Ok(())
    }

    /// Removes the waiter row, and passes the bell on.
    pub(crate) async fn stop_waiting(&self, subscription: i32, process: i64) -> Result<(), Error> {
        self.query("remove a waiter row", STOP_WAITING, &[&subscription, &process]).await?;
        Ok(())
    }

    /// Passes the bells on that may have rung for processes that are absent. Where nobody else waits, their waiter rows stay.
    pub(crate) async fn pass_bells_on(&self, absent: &[i64]) -> Result<(), Error> {
        self.query("pass the bells of absent processes on", STOP_WAITING_OF, &[&absent]).await?;
        Ok(())
    }
}
