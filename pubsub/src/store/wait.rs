//! Going to sleep and waking up. The protocol is in `migrations/functions/bell.sql`.

use super::{Parameters, Store, seconds};
use crate::error::Error;
use crate::policy::dispatch::waiter::WAITER_TTL;

const START_WAITING: &str = "
    select pubsub.start_waiting($1, $2, make_interval(secs => $3)) from set_config('synchronous_commit', 'off', true)";

pub(super) const REPORT_AWAKE: &str = "
    select pubsub.report_awake($1, $2, make_interval(secs => $3)) from set_config('synchronous_commit', 'off', true)";

// Only a renewal writes.
const POLL: &str = "
    select p.subscription, p.is_unread
      from set_config('synchronous_commit', 'off', true), pubsub.poll($1, $2, $3, make_interval(secs => $4)) p";

const STOP_WAITING: &str = "
    select pubsub.stop_waiting($1, $2) from set_config('synchronous_commit', 'off', true)";

const STOP_WAITING_OF: &str = "
    select pubsub.stop_waiting(null, a.process)
      from set_config('synchronous_commit', 'off', true), unnest($1::bigint[]) a (process)";

/// The most subscriptions that one statement polls for, so that it ends well before its deadline.
const POLLED_TOGETHER: usize = 1_000;

/// The answer to a poll of the log.
#[derive(Debug, Default)]
pub(crate) struct Polled {
    /// The subscriptions that may have something to read.
    pub(crate) unread: Vec<i32>,
    /// The subscriptions whose waiter rows were renewed.
    pub(crate) renewed: Vec<i32>,
}

impl Store {
    /// Polls the log for these subscriptions of a process, and renews the waiter rows of those that are in `renewals` and sleep.
    pub(crate) async fn poll_log(
        &self,
        subscriptions: &[i32],
        process: i64,
        mut renewals: &[i32],
    ) -> Result<Polled, Error> {
        let mut polled = Polled::default();
        for together in subscriptions.chunks(POLLED_TOGETHER) {
            let renewed = std::mem::take(&mut renewals);
            let parameters: Parameters<'_> = &[&together, &process, &renewed, &seconds(WAITER_TTL)];
            for row in self.query("poll the log", POLL, parameters).await? {
                let of = if row.get(1) { &mut polled.unread } else { &mut polled.renewed };
                of.push(row.get(0));
            }
        }
        Ok(polled)
    }

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
