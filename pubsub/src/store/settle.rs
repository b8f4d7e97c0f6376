//! Settling deliveries, and returning those of unknown leases to the mailbox.

use super::Store;
use crate::error::Error;
use crate::model::event::LeaseToken;
use crate::policy::disposition::Disposition;
use tokio_postgres::types::Json;

const SETTLE: &str = "select pubsub.settle($1, $2, $3, $4)";

const RETURN_UNKNOWN: &str = "select pubsub.return_unknown($1, $2, $3)";

impl Store {
    /// Settles events of a lease. Without `acknowledged`, all events that `dispositions` does not name are acknowledged.
    ///
    /// Returns false if the lease is no longer ours. Then nothing was written.
    pub(crate) async fn settle(
        &self,
        process: i64,
        token: LeaseToken,
        acknowledged: Option<&[i64]>,
        dispositions: &[Disposition],
    ) -> Result<bool, Error> {
        let dispositions = (!dispositions.is_empty()).then_some(Json(dispositions));
        self.query_value("settle deliveries", SETTLE, &[&process, &token.0, &acknowledged, &dispositions])
            .await
    }

    /// Returns the events that this process holds under leases that it does not know to the mailbox. The result is their
    /// number.
    pub(crate) async fn return_unknown(
        &self,
        subscription: i32,
        process: i64,
        known: &[i64],
    ) -> Result<i64, Error> {
        self.query_value("give unknown leases back", RETURN_UNKNOWN, &[&subscription, &process, &known]).await
    }
}
