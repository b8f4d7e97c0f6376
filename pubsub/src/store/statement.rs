//! Running a statement: prepared, in a session of our own; or through a pooler in transaction mode, which may give each transaction
//! another session.

use super::connect::{LOCK_TIMEOUT, STATEMENT_TIMEOUT};
use super::through::Through;
use super::time::Time;
use crate::error::may_end_session;
use deadpool_postgres::ClientWrapper;
use futures_util::future::{join, join3};
use serde_json::Value;
use std::fmt::Debug;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::{Json, ToSql, Type};

/// A value in a statement.
pub(super) trait TypedValue: ToSql + Sync {
    /// The type that the statement expects of it, which the driver asks the server for only when it prepares.
    fn of_type(&self) -> Type;
}

/// Parameters of a statement.
pub(super) type Parameters<'a> = &'a [&'a dyn TypedValue];

/// Parameters with their types, as the driver takes them.
pub(super) type TypedParameters<'a> = &'a [(&'a (dyn ToSql + Sync), Type)];

pub(super) type DriverResult = Result<Vec<Row>, tokio_postgres::Error>;

/// Runs a statement as a transaction of its own, within `limit` if it goes through a pooler.
pub(super) async fn run(
    client: &ClientWrapper,
    through: Through,
    sql: &str,
    parameters: Parameters<'_>,
    limit: Duration,
) -> DriverResult {
    match through {
        Through::Session => {
            let statement = prepare(client, sql, parameters).await?;
            client.query(&statement, &values(parameters)).await
        }
        Through::Pooler => run_in_transaction(client, sql, &typed(parameters), limit).await,
    }
}

/// Runs a statement that is not prepared.
pub(super) async fn run_typed(
    client: &ClientWrapper,
    through: Through,
    sql: &str,
    parameters: TypedParameters<'_>,
) -> DriverResult {
    match through {
        Through::Session => client.query_typed(sql, parameters).await,
        Through::Pooler => run_in_transaction(client, sql, parameters, STATEMENT_TIMEOUT).await,
    }
}

/// Runs two statements in order. In a session, both are prepared before either is sent, because preparing the first could let the
/// second overtake it. An error of this function is one of preparing: then neither was sent.
pub(super) async fn run_both(
    client: &ClientWrapper,
    through: Through,
    first: (&str, Parameters<'_>),
    second: (&str, Parameters<'_>),
) -> Result<(DriverResult, DriverResult), tokio_postgres::Error> {
    if through == Through::Pooler {
        let [first, second] = [first, second].map(|(sql, parameters)| (sql, typed(parameters)));
        let first = run_in_transaction(client, first.0, &first.1, STATEMENT_TIMEOUT);
        let second = run_in_transaction(client, second.0, &second.1, STATEMENT_TIMEOUT);
        return Ok(join(first, second).await);
    }
    let first = (prepare(client, first.0, first.1).await?, values(first.1));
    let second = (prepare(client, second.0, second.1).await?, values(second.1));
    Ok(join(client.query(&first.0, &first.1), client.query(&second.0, &second.1)).await)
}

/// Whether the connection is unusable after this error: it is broken, was ended by the server, is on a server that has become
/// read-only, or has plans from before a migration.
pub(super) fn is_fatal(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        return true; // the error comes from the connection or the protocol, not from the server
    };
    let code = code.code();
    may_end_session(code) || ["25006", "0A000", "26000"].contains(&code)
}

/// Begins a transaction with the settings of a session of ours, in place of the role's. They end with it.
pub(super) fn begin(statement: Duration, lock: Duration) -> String {
    format!(
        "begin isolation level read committed; \
         set local statement_timeout = {}; \
         set local lock_timeout = {}; \
         set local idle_in_transaction_session_timeout = '10s'; \
         select set_config('transaction_timeout', '0', true) \
          where current_setting('transaction_timeout', true) is not null",
        statement.as_millis(),
        lock.as_millis()
    )
}

/// Sends a whole transaction at once: one round trip, and nothing is left behind in whichever session it runs.
async fn run_in_transaction(
    client: &ClientWrapper,
    sql: &str,
    parameters: TypedParameters<'_>,
    limit: Duration,
) -> DriverResult {
    let begin = begin(limit, LOCK_TIMEOUT);
    // A statement that fails makes a rollback of the commit.
    let (begun, rows, ended) = join3(
        client.batch_execute(&begin),
        client.query_typed(sql, parameters),
        client.batch_execute("commit"),
    )
    .await;
    begun?;
    let rows = rows?;
    ended?;
    Ok(rows)
}

async fn prepare(
    client: &ClientWrapper,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<tokio_postgres::Statement, tokio_postgres::Error> {
    let statement = client.prepare_cached(sql).await?;
    // The tests of sessions are thereby tests of what goes through a pooler.
    debug_assert!(
        parameters.iter().map(|parameter| parameter.of_type()).eq(statement.params().iter().cloned()),
        "the server expects {:?} in {sql}",
        statement.params()
    );
    Ok(statement)
}

fn values<'a>(parameters: Parameters<'a>) -> Vec<&'a (dyn ToSql + Sync)> {
    parameters.iter().map(|parameter| *parameter as &'a (dyn ToSql + Sync)).collect()
}

fn typed<'a>(parameters: Parameters<'a>) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let typed = |parameter: &&'a dyn TypedValue| (*parameter as &'a (dyn ToSql + Sync), parameter.of_type());
    parameters.iter().map(typed).collect()
}

/// A Rust type that is always one type of PostgreSQL here.
trait OfOneType: ToSql + Sync {
    const TYPE: Type;
}

impl<T: OfOneType> TypedValue for T {
    fn of_type(&self) -> Type {
        T::TYPE
    }
}

impl<T: OfOneType> OfOneType for Option<T> {
    const TYPE: Type = T::TYPE;
}

impl<T: OfOneType> OfOneType for &T {
    const TYPE: Type = T::TYPE;
}

impl<T: serde::Serialize + Debug + Sync> OfOneType for Json<T> {
    const TYPE: Type = Type::JSONB;
}

macro_rules! typed {
    ($($rust:ty => $sql:ident),* $(,)?) => {$(
        impl OfOneType for $rust {
            const TYPE: Type = Type::$sql;
        }
    )*};
}

typed!(
    bool => BOOL,
    i32 => INT4,
    i64 => INT8,
    f64 => FLOAT8,
    &str => TEXT,
    &[i32] => INT4_ARRAY,
    &[i64] => INT8_ARRAY,
    Time => TIMESTAMPTZ,
    Value => JSONB,
);
