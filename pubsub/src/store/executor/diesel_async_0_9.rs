//! The connections of diesel-async 0.9, whose transactions are their own closures.

use super::{BoxError, Executor, Parameter, Row, Statement, Value, collected, sealed};
use crate::error::{Error, Refusal, from_driver};
use diesel_2::pg::Pg;
use diesel_2::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel_2::result::{DatabaseErrorKind as Kind, Error as DieselError};
use diesel_2::row::Field as _;
use diesel_2::sql_types::{Array, BigInt, Integer, Nullable, Text};
use diesel_async_0_9::{AsyncConnectionCore as _, AsyncPgConnection};
use futures_util::TryStreamExt as _;

impl Executor for &mut AsyncPgConnection {}

impl sealed::Executor for &mut AsyncPgConnection {
    async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        let Statement { doing, sql, parameters } = statement;
        let query = diesel_2::sql_query(sql).into_boxed::<Pg>();
        let rows = self.load(parameters.iter().fold(query, bind));
        let failed = |source| from_driver(doing, refusal(&source), source);
        let rows: Vec<_> = rows.await.map_err(failed)?.try_collect().await.map_err(failed)?;
        collected(doing, rows.iter().map(read))
    }
}

type Query<'a> = BoxedSqlQuery<'a, Pg, SqlQuery>;

fn bind<'a>(query: Query<'a>, parameter: &Parameter<'a>) -> Query<'a> {
    match *parameter {
        Parameter::Text(value) => query.bind::<Nullable<Text>, _>(value),
        Parameter::Int4(value) => query.bind::<Integer, _>(value),
        Parameter::Int8(value) => query.bind::<Nullable<BigInt>, _>(value),
        Parameter::Texts(values) => query.bind::<Array<Nullable<Text>>, _>(values),
    }
}

fn read<'a>(row: &impl diesel_2::row::Row<'a, Pg>) -> Result<Row, BoxError> {
    let value = |column| {
        let field = row.get(column).ok_or("a row without its last column")?;
        field
            .value()
            .map_or(Ok(Value::Null), |value| Value::read(value.get_oid().get(), Some(value.as_bytes())))
    };
    (0..row.field_count()).map(value).collect()
}

/// The words of the server, if it spoke. Diesel keeps the code to itself, so ours stand in the constraint's name too.
fn refusal(error: &DieselError) -> Option<Refusal> {
    let DieselError::DatabaseError(kind, said) = error else { return None };
    let ours = said.constraint_name().filter(|name| name.starts_with("PB"));
    Some(Refusal {
        sqlstate: ours.or_else(|| sqlstate(*kind))?.to_owned(),
        message: said.message().to_owned(),
        detail: said.details().map(str::to_owned),
        hint: said.hint().map(str::to_owned),
    })
}

/// The code that diesel has made a kind of.
fn sqlstate(kind: Kind) -> Option<&'static str> {
    Some(match kind {
        Kind::UniqueViolation => "23505",
        Kind::ForeignKeyViolation => "23503",
        Kind::NotNullViolation => "23502",
        Kind::CheckViolation => "23514",
        Kind::RestrictViolation => "23001",
        Kind::ExclusionViolation => "23P01",
        Kind::SerializationFailure => "40001",
        Kind::ReadOnlyTransaction => "25006",
        // diesel-async calls every error without a SQLSTATE so. Nearly all are lost connections.
        Kind::ClosedConnection | Kind::UnableToSendCommand => "08006",
        _ => return None,
    })
}
