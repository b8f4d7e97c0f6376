//! The drivers, as their users hold them.

pub(crate) mod deadpool_postgres;
mod diesel_async;
mod sea_orm;
mod sqlx;
mod tokio_postgres;

use std::error::Error;

/// A connection of a driver.
pub(crate) trait Driver: Sized {
    type Transaction<'a>: Transaction
    where
        Self: 'a;

    /// Whether the driver's errors have a SQLSTATE.
    const TELLS_SQLSTATE: bool = true;

    async fn connect(url: &str) -> Self;
    async fn begin(&mut self) -> Self::Transaction<'_>;

    /// Whether an error is of this driver's own type.
    fn is_own(error: &(dyn Error + 'static)) -> bool;
}

/// A transaction of a driver.
pub(crate) trait Transaction: Sized {
    type Executor<'a>: pubsub::Executor
    where
        Self: 'a;

    /// Returns what a caller passes to `publish`.
    fn executor(&mut self) -> Self::Executor<'_>;
    async fn commit(self);
    async fn rollback(self);
}
