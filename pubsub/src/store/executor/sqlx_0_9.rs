//! The connections and transactions of sqlx 0.9.

use super::{BoxError, Executor, Parameter, Row, Statement, Value, collected, sealed};
use crate::error::{Error, Refusal, from_driver};
use sqlx_0_9::postgres::{PgArguments, PgColumn, PgDatabaseError, PgRow};
use sqlx_0_9::{
    Arguments as _, Column as _, PgConnection, PgTransaction, Row as _, ValueRef as _, query_with,
};

impl Executor for &mut PgConnection {}

impl sealed::Executor for &mut PgConnection {
    async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        run(self, statement).await
    }
}

impl Executor for &mut PgTransaction<'_> {}

impl sealed::Executor for &mut PgTransaction<'_> {
    async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        run(self, statement).await
    }
}

async fn run(connection: &mut PgConnection, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
    let Statement { doing, sql, parameters } = statement;
    let arguments = arguments(parameters).map_err(|source| from_driver(doing, None, source))?;
    // A statement that persists is a named one, which a pooler in transaction mode may run on another connection.
    let rows = query_with(sql, arguments).persistent(false).fetch_all(connection).await;
    let rows = rows.map_err(|source| from_driver(doing, refusal(&source), source))?;
    collected(doing, rows.iter().map(read))
}

fn arguments(parameters: &[Parameter<'_>]) -> Result<PgArguments, BoxError> {
    let mut arguments = PgArguments::default();
    for parameter in parameters {
        match parameter {
            Parameter::Text(value) => arguments.add(value),
            Parameter::Int4(value) => arguments.add(value),
            Parameter::Int8(value) => arguments.add(value),
            Parameter::Texts(values) => arguments.add(values),
        }?;
    }
    Ok(arguments)
}

/// The words of the server, if it spoke, or those of a connection that broke.
pub(super) fn refusal(error: &sqlx_0_9::Error) -> Option<Refusal> {
    // SeaORM has this error inside one of its own, which hides that it is of the connection.
    if matches!(error, sqlx_0_9::Error::Io(_)) {
        return Some(of_connection("08006", error));
    }
    let said = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    Some(Refusal {
        sqlstate: said.code().to_owned(),
        message: said.message().to_owned(),
        detail: said.detail().map(str::to_owned),
        hint: said.hint().map(str::to_owned),
    })
}

/// The words of a driver about its connection, in place of those of the server.
pub(super) fn of_connection(sqlstate: &str, error: &dyn std::error::Error) -> Refusal {
    Refusal { sqlstate: sqlstate.to_owned(), message: error.to_string(), detail: None, hint: None }
}

pub(super) fn read(row: &PgRow) -> Result<Row, BoxError> {
    let value = |column: &PgColumn| {
        let value = row.try_get_raw(column.ordinal())?;
        let oid = column.type_info().oid().ok_or("a type without a number")?.0;
        Value::read(oid, if value.is_null() { None } else { Some(value.as_bytes()?) })
    };
    row.columns().iter().map(value).collect()
}
