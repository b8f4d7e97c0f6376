//! L3: the only place that speaks SQL.
//!
//! Every statement calls a function of `migrations/`, under a deadline. A connection whose answer did not come is thrown
//! away: what it was doing is unknown, and it might answer the next question with the last one's answer.

pub(crate) mod claim;
mod connect;
mod dead_letter;
pub(crate) mod drop_channel;
pub(crate) mod heartbeat_session;
mod lag;
pub(crate) mod listen;
pub(crate) mod migrate;
pub(crate) mod process;
pub(crate) mod publish;
pub(crate) mod restore;
pub(crate) mod retention;
pub(crate) mod schema;
pub(crate) mod secrecy;
mod seek;
pub(crate) mod settle;
pub(crate) mod subscribe;
pub(crate) mod wait;
pub(crate) mod xmin_holders;

use crate::error::{Error, from_database};
use deadpool_postgres::{ClientWrapper, Object, Pool};
use futures_util::future::try_join;
use std::ops::Deref;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql, Type};

pub(crate) use connect::Target;

/// The database, through a few pooled connections.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pool: Pool,
    deadline: Duration,
}

/// Parameters of a statement.
type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Store {
    /// Runs one statement as a transaction of its own. `doing` completes "the database failed to …".
    ///
    /// # Cancel safety
    /// Dropping the future throws the connection away; whether the statement took effect is unknown.
    async fn query(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Vec<Row>, Error> {
        self.within_deadline(doing, async {
            let session = self.session(doing).await?;
            let rows = run(&session, sql, parameters).await;
            session.give_back(rows.as_ref().err());
            rows.map_err(|source| from_database(doing, source))
        })
        .await
    }

    /// Runs one statement that is not prepared, and so not logged: of a prepared one, the driver tells the `log` crate the
    /// parameters, at level debug.
    async fn query_unlogged(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<Row>, Error> {
        self.within_deadline(doing, async {
            let session = self.session(doing).await?;
            let rows = session.query_typed(sql, parameters).await;
            session.give_back(rows.as_ref().err());
            rows.map_err(|source| from_database(doing, source))
        })
        .await
    }

    /// Runs two statements on one connection, each as a transaction of its own, sent together: the second starts when the
    /// first has committed, without waiting for us in between.
    async fn query_both(
        &self,
        doing: &'static str,
        first: (&str, Parameters<'_>),
        second: (&str, Parameters<'_>),
    ) -> Result<(Vec<Row>, Vec<Row>), Error> {
        self.within_deadline(doing, async {
            let session = self.session(doing).await?;
            let both = run_both(&session, first, second).await;
            session.give_back(both.as_ref().err());
            both.map_err(|source| from_database(doing, source))
        })
        .await
    }

    /// The single value of a statement that returns one row of one column.
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
        row.try_get(0).map_err(|source| Error::Database { doing, source })
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
            Err(deadpool_postgres::PoolError::Backend(source)) => Err(Error::Connect(source)),
            // The pool has no limits of its own: what is left is that it was closed, or that a hook said no.
            Err(_) => Err(Error::Timeout { doing, after: self.deadline }),
        }
    }
}

/// A pooled connection that goes back to the pool only when it is told to.
struct Session {
    object: Option<Object>,
}

impl Session {
    /// Gives the connection back, unless the error says that it is of no use any more.
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
        self.object.as_ref().expect("a session holds its connection until it is given back")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            // Out of the pool for good; dropping the client closes the connection.
            drop(Object::take(object));
        }
    }
}

async fn run(
    client: &ClientWrapper,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    let statement = client.prepare_cached(sql).await?;
    client.query(&statement, parameters).await
}

/// Both are prepared before either is sent: one that is not prepared yet would let the other go first.
async fn run_both(
    client: &ClientWrapper,
    first: (&str, Parameters<'_>),
    second: (&str, Parameters<'_>),
) -> Result<(Vec<Row>, Vec<Row>), tokio_postgres::Error> {
    let first = (client.prepare_cached(first.0).await?, first.1);
    let second = (client.prepare_cached(second.0).await?, second.1);
    try_join(client.query(&first.0, first.1), client.query(&second.0, second.1)).await
}

/// Whether the connection is of no use after this error: broken, told to go, on a server that has become read-only, or
/// holding plans from before a migration.
fn is_fatal(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        return true; // not the server's word: the connection's, or the protocol's
    };
    let code = code.code();
    ["08", "57P", "XX"].iter().any(|class| code.starts_with(class))
        || ["25006", "0A000", "26000"].contains(&code)
}

/// The text of a `jsonb` column as it came over the wire: its reader is elsewhere.
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

/// First byte of a jsonb value in binary format (`jsonb_send` in the server's source).
const JSONB_VERSION: u8 = 1;

/// A duration as the seconds of `make_interval`.
fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
