//! Settling deliveries, in transactions of the runtime or of a handler, and returning those of unknown leases to the mailbox.

use super::executor::{self, Executor, Parameter, Statement};
use super::{Parameters, Store};
use crate::error::Error;
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::model::event::{EventId, LeaseToken};
use crate::policy::disposition::Disposition;
use tokio_postgres::types::Json;

const SETTLE: &str = "select pubsub.settle($1, $2, $3, $4)";

const SETTLE_IN: &str = "select pubsub.settle_in($1, $2, $3)";

const ARE_SETTLED: &str = "select pubsub.are_settled($1, $2)";

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

    /// Tells of each delivery whether its handler has settled it in a transaction that was committed.
    pub(crate) async fn are_settled(&self, deliveries: &[(LeaseToken, EventId)]) -> Result<Vec<bool>, Error> {
        let (tokens, events): (Vec<i64>, Vec<i64>) =
            deliveries.iter().map(|(token, event)| (token.0, event.0)).unzip();
        let deliveries: Parameters<'_> = &[&tokens.as_slice(), &events.as_slice()];
        self.query_value("confirm the settlements of handlers", ARE_SETTLED, deliveries).await
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

impl<C: Channel> Delivery<C> {
    /// Settles this delivery as done in the handler's own transaction: what the handler writes and the settlement commit together,
    /// or not at all.
    ///
    /// Call it last, commit, and answer `Ok(())`. From this call on, only the database decides whether the delivery is done. If
    /// the transaction commits, the delivery is done, whatever the handler answers. If not, the delivery is retried as the
    /// handler's answer says. `Ok(())` counts as a failed attempt then, because nothing of what was rolled back is acknowledged.
    ///
    /// It must be a transaction of the database that the event comes from. Another one refuses the delivery, unless it is a copy. While
    /// the transaction is open, no other delivery waits for it. Through a client, or a running [`PubSub`](crate::PubSub), the delivery
    /// is settled at once.
    ///
    /// # Errors
    /// [`Error::LeaseLost`] if the event was given to another process, or settled before, and the database's own errors. If the
    /// event is given to another process between this call and the commit, the commit fails, with SQLSTATE `PB010`; under
    /// REPEATABLE READ and SERIALIZABLE it may be `40001`. After an error the transaction can only be rolled back.
    ///
    /// # Cancel safety
    /// Dropping the future leaves unknown whether the settlement is in the transaction. Roll the transaction back.
    ///
    /// # Examples
    /// ```
    /// use pubsub::{Channel, Delivery, Handled};
    /// # use serde::{Deserialize, Serialize};
    ///
    /// # #[derive(Serialize, Deserialize, Channel)]
    /// # #[channel("order_paid")]
    /// # struct OrderPaid { order: i64 }
    /// async fn book(paid: Delivery<OrderPaid>, client: &mut tokio_postgres::Client) -> Handled {
    ///     let transaction = client.transaction().await?;
    ///     transaction.execute("update orders set is_paid = true where id = $1", &[&paid.order]).await?;
    ///     paid.settle_in(&transaction).await?;
    ///     transaction.commit().await?;
    ///     Ok(())
    /// }
    /// ```
    pub fn settle_in<E: Executor>(
        &self,
        mut executor: E,
    ) -> impl Future<Output = Result<(), Error>> + Send + use<C, E> {
        let parameters = settling(self);
        async move {
            let statement = Statement { doing: "settle a delivery", sql: SETTLE_IN, parameters: &parameters };
            executor::run(&mut executor, statement).await.map(drop)
        }
    }
}

/// Returns the parameters of a statement that settles a delivery in the handler's transaction, and notes that one may.
pub(super) fn settling<C: Channel>(delivery: &Delivery<C>) -> [Parameter<'static>; 3] {
    let (process, token, event) = delivery.settling();
    [process, token.0, event.0].map(|id| Parameter::Int8(Some(id)))
}
