//! The lag of a subscription.

use super::Store;
use crate::error::Error;

const LAG: &str = "select pubsub.lag($1, $2)";

impl Store {
    /// Counts the events that a subscription has not read.
    pub(crate) async fn lag(&self, channel: &str, subscription: &str) -> Result<u64, Error> {
        let events: i64 = self.query_value("count unread events", LAG, &[&channel, &subscription]).await?;
        Ok(events.unsigned_abs())
    }
}
