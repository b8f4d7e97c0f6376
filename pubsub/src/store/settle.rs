//! Settling deliveries, and giving back what nobody holds.

use super::Store;
use crate::error::Error;
use crate::model::event::LeaseToken;
use crate::policy::disposition::Disposition;
use tokio_postgres::types::Json;

const SETTLE: &str = "select pubsub.settle($1, $2, $3, $4)";

const RETURN_UNKNOWN: &str = "select pubsub.return_unknown($1, $2, $3)";

impl Store {
    /// Settles events of a lease. `acknowledged` of `None` means all that `dispositions` does not name.
    ///
    /// False: the lease is not ours any more, and nothing was written.
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

    /// Gives back what this process holds under leases it does not know. Returns how many events.
    pub(crate) async fn return_unknown(
        &self,
        subscription: i32,
        process: i64,
        known: &[i64],
    ) -> Result<i64, Error> {
        self.query_value("give unknown leases back", RETURN_UNKNOWN, &[&subscription, &process, &known]).await
    }
}
