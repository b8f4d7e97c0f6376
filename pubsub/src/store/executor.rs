//! The caller's connection or transaction, whichever driver it belongs to.
//!
//! A driver runs a [`Statement`] with typed parameters and returns its rows. It knows nothing of events, and the statements
//! know nothing of drivers. Each driver has a file of its own here.

#[cfg(feature = "diesel-async-0_9")]
mod diesel_async_0_9;
mod parameter;
mod row;
#[cfg(feature = "sea-orm-2")]
mod sea_orm_2;
#[cfg(feature = "sqlx-0_9")]
mod sqlx_0_9;
mod tokio_postgres_0_7;

use crate::error::{Error, from_driver};
use std::fmt;
use std::time::Duration;

pub(crate) use parameter::{Parameter, array};
pub(super) use row::BoxError;
pub(crate) use row::Row;
use row::Value;

/// The longest wait for a statement. After it the caller can only roll the transaction back.
const DEADLINE: Duration = Duration::from_secs(30);

/// Runs statements for a publisher: the connection or the transaction of a driver, or a running [`PubSub`](crate::PubSub).
///
/// An executor is passed by value, as its driver passes it: `&transaction` or `&client` of `tokio-postgres` and
/// `deadpool-postgres`, `&mut *transaction` of sqlx (feature `sqlx-0_9`), `&transaction` of SeaORM (`sea-orm-2`), and the
/// connection that diesel-async gives to the closure of a transaction (`diesel-async-0_9`). For any other driver there is
/// [`prepared`](crate::prepared()).
///
/// The driver must run on Tokio, as this crate does.
///
/// In a transaction, the event is published when the transaction commits. Through a connection without one, or a `PubSub`, each
/// statement is a transaction of its own.
///
/// This trait is sealed: only this crate implements it.
///
/// # Examples
/// ```
/// use pubsub::{Channel, Executor, Published, publish};
/// # use serde::{Deserialize, Serialize};
///
/// # #[derive(Serialize, Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { msg: String }
/// async fn greet(executor: impl Executor, name: &str) -> Result<Published, pubsub::Error> {
///     publish(executor, &Sms { msg: format!("Welcome, {name}!") }).await
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run a statement",
    label = "neither a connection or a transaction, as its driver passes it, nor a reference to a `PubSub`",
    note = "pass `&client`, `&transaction` or `&pubsub`; a pool gives a client: `&pool.get().await?`",
    note = "with the feature of the driver: `&mut *transaction` of sqlx, `&transaction` of SeaORM, `connection` of diesel-async"
)]
pub trait Executor: sealed::Executor {}

pub(crate) mod sealed {
    use super::{Row, Statement};
    use crate::error::Error;

    pub trait Executor: Send {
        /// Runs one statement on its connection, and returns its rows.
        fn run(&mut self, statement: Statement<'_>) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;
    }
}

/// A statement of this crate, with its parameters.
#[derive(Clone, Copy)]
pub struct Statement<'a> {
    /// Completes the sentence "the database failed to ..".
    pub(super) doing: &'static str,
    /// Its columns are of the types that a [`Row`] has.
    pub(super) sql: &'static str,
    /// The values of `$1`, `$2` and so on.
    pub(super) parameters: &'a [Parameter<'a>],
}

/// Without the parameters, which have the payload.
impl fmt::Debug for Statement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statement").field("sql", &self.sql).finish_non_exhaustive()
    }
}

/// Collects the rows that a driver has read.
fn collected(
    doing: &'static str,
    rows: impl Iterator<Item = Result<Row, BoxError>>,
) -> Result<Vec<Row>, Error> {
    rows.collect::<Result<_, _>>().map_err(|source| from_driver(doing, None, source))
}

/// Runs a statement through an executor, with a deadline.
pub(super) async fn run(executor: &mut impl Executor, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
    tokio::time::timeout(DEADLINE, executor.run(statement))
        .await
        .unwrap_or(Err(Error::Timeout { doing: statement.doing, after: DEADLINE }))
}
