//! The connections and transactions of SeaORM 2, which are those of sqlx 0.9 inside.

use super::parameter::array;
use super::sqlx_0_9::{of_connection, read, refusal};
use super::{Executor, Parameter, Row, Statement, collected, sealed};
use crate::error::{Error, Refusal, from_driver};
use sea_orm_2::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, RuntimeErr,
    Value,
};

impl Executor for &DatabaseConnection {}

impl sealed::Executor for &DatabaseConnection {
    async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        run(*self, statement).await
    }
}

impl Executor for &DatabaseTransaction {}

impl sealed::Executor for &DatabaseTransaction {
    async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        run(*self, statement).await
    }
}

async fn run(connection: &impl ConnectionTrait, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
    let Statement { doing, sql, parameters } = statement;
    let values = parameters.iter().map(value);
    let statement = sea_orm_2::Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let rows = connection.query_all_raw(statement).await;
    let rows = rows.map_err(|source| from_driver(doing, said(&source), source))?;
    let read = |row: &sea_orm_2::QueryResult| read(row.try_as_pg_row().ok_or("not a row of PostgreSQL")?);
    collected(doing, rows.iter().map(read))
}

fn value(parameter: &Parameter<'_>) -> Value {
    match *parameter {
        Parameter::Text(value) => value.map(str::to_owned).into(),
        Parameter::Int4(value) => value.into(),
        Parameter::Int8(value) => value.into(),
        // An array of SeaORM's cannot have a null, so the statement casts a text to it.
        Parameter::Texts(values) => array(values).into(),
    }
}

/// The words of the server, if it spoke, or those of a connection that broke or could not be had.
fn said(error: &DbErr) -> Option<Refusal> {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error))
        | DbErr::Conn(RuntimeErr::SqlxError(error)) => refusal(error),
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Some(of_connection("08001", error)),
        _ => None,
    }
}
