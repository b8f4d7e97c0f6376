//! L3: SQL and connections. Only this layer uses SQL.
//!
//! Every statement calls a function of `migrations/` and has a deadline. A connection that did not answer in time is closed,
//! because its late answer could be taken for the answer to the next statement.

mod addresses;
mod application;
mod attempts;
pub(crate) mod claim;
mod connect;
mod dead_letter;
pub(crate) mod drop_channel;
pub(crate) mod executor;
pub(crate) mod heartbeat_session;
mod lag;
pub(crate) mod listen;
pub(crate) mod migrate;
mod parameters;
pub(crate) mod prepared;
pub(crate) mod process;
pub(crate) mod publish;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod schema;
pub(crate) mod secrecy;
mod seek;
mod session;
pub(crate) mod settle;
mod statement;
pub(crate) mod subscribe;
mod support;
pub(crate) mod target;
#[cfg(feature = "testing")]
pub(crate) mod test_kit;
mod through;
mod time;
mod tls;
pub(crate) mod wait;
pub(crate) mod xmin_holders;

use crate::error::{Error, from_database};
use connect::{OnRuntime, Pool, STATEMENT_TIMEOUT};
use deadpool::managed::{Object, PoolError};
use deadpool_postgres::ClientWrapper;
use statement::{Parameters, TypedParameters, is_fatal};
use std::fmt;
use std::ops::Deref;
use std::time::Duration;
use through::Through;
use tokio::runtime::Handle;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, Type};

pub(crate) use target::Target;
#[cfg(feature = "testing")]
pub(crate) use tls::https;

/// The database, through a few pooled connections.
#[derive(Clone)]
pub(crate) struct Store {
    pool: Pool,
    through: Through,
    deadline: Duration,
}

/// Without the pool, which has the database's URL.
impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// The result of one of two statements.
type RowsOrError = Result<Vec<Row>, Error>;

impl Store {
    /// Connects to a database when connections are needed, through up to `connections` that live on the runtime behind `runtime`.
    /// `deadline` is the longest wait for an answer.
    pub(crate) fn new(target: &Target, runtime: &Handle, connections: usize, deadline: Duration) -> Self {
        let through = target.through();
        Self { pool: target.own_pool(runtime, connections, through), through, deadline }
    }

    /// Runs one statement as a transaction of its own. `doing` completes the sentence "the database failed to ..".
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection. It is unknown whether the statement took effect.
    async fn query(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        self.within_deadline(doing, async {
            let session = self.session(doing).await?;
            let rows = statement::run(&session, self.through, sql, parameters, STATEMENT_TIMEOUT).await;
            session.give_back(rows.as_ref().err());
            rows.map_err(|source| from_database(doing, source))
        })
        .await
    }

    /// Runs one statement without preparing it. The driver logs the parameters of prepared statements through the `log` crate,
    /// at level debug.
    async fn query_unlogged(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: TypedParameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        self.within_deadline(doing, async {
            let session = self.session(doing).await?;
            let rows = statement::run_typed(&session, self.through, sql, parameters).await;
            session.give_back(rows.as_ref().err());
            rows.map_err(|source| from_database(doing, source))
        })
        .await
    }

    /// Sends two statements on one connection together, each as a transaction of its own. The second starts as soon as the
    /// first has ended, without a round trip in between. Each has its own result: one may fail and the other take effect.
    async fn query_both(
        &self,
        doing: &'static str,
        first: (&str, Parameters<'_>),
        second: (&str, Parameters<'_>),
    ) -> Result<(RowsOrError, RowsOrError), Error> {
        self.within_deadline(doing, async {
            let session = self.session(doing).await?;
            let (first, second) = match statement::run_both(&session, self.through, first, second).await {
                Ok(both) => both,
                Err(unprepared) => {
                    session.give_back(Some(&unprepared));
                    return Err(from_database(doing, unprepared));
                }
            };
            let errors = [first.as_ref().err(), second.as_ref().err()];
            session.give_back(errors.into_iter().flatten().find(|error| is_fatal(error)));
            let of = |result: Result<Vec<Row>, _>| result.map_err(|source| from_database(doing, source));
            Ok((of(first), of(second)))
        })
        .await
    }

    /// Runs a statement and returns its single value.
    async fn query_value<T>(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<T, Error>
    where
        T: for<'a> FromSql<'a>,
    {
        let rows = self.query(doing, sql, parameters).await?;
        let row = rows.first().expect("a function that returns a value returns one row");
        row.try_get(0).map_err(|source| from_database(doing, source))
    }

    async fn within_deadline<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        tokio::time::timeout(self.deadline, work)
            .await
            .unwrap_or(Err(Error::Timeout { doing, after: self.deadline }))
    }

    async fn session(&self, doing: &'static str) -> Result<Session, Error> {
        match self.pool.get().await {
            Ok(object) => Ok(Session { object: Some(object) }),
            Err(PoolError::Backend(error)) => Err(error),
            // The pool has no timeouts. The remaining errors are a closed pool and a hook that refused.
            Err(_) => Err(Error::Timeout { doing, after: self.deadline }),
        }
    }
}

/// A pooled connection that goes back to the pool only through [`give_back`](Self::give_back).
struct Session {
    object: Option<Object<OnRuntime>>,
}

impl Session {
    /// Puts the connection back into the pool, unless the error shows that it is unusable.
    fn give_back(mut self, error: Option<&tokio_postgres::Error>) {
        if error.is_some_and(is_fatal) {
            return;
        }
        drop(self.object.take());
    }
}

impl Deref for Session {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.object.as_ref().expect("a session holds its connection until it is dropped or put back")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            // The pool forgets the connection, and dropping the client closes it.
            drop(Object::take(object));
        }
    }
}

/// The text of a `jsonb` column as the server sent it. It is parsed elsewhere.
struct JsonText(Vec<u8>);

impl<'a> FromSql<'a> for JsonText {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        match raw.split_first() {
            Some((&JSONB_VERSION, text)) => Ok(Self(text.to_vec())),
            _ => Err("the server sent a jsonb format that is not version 1".into()),
        }
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::JSONB
    }
}

/// The first byte of a `jsonb` value in binary format (`jsonb_send` in the server's source).
const JSONB_VERSION: u8 = 1;

/// Returns a duration as seconds, for `make_interval`.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
