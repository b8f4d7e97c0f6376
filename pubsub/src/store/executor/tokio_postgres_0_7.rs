//! The clients and transactions of `tokio-postgres` and of `deadpool-postgres`, and the runtime's own pool.

use super::{BoxError, Executor, Parameter, Row, Statement, Value, collected, sealed};
use crate::error::{Error, from_database};
use crate::store::Store;
use tokio_postgres::Column;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

macro_rules! executors {
    ($($executor:ty),* $(,)?) => {$(
        impl Executor for &$executor {}

        impl sealed::Executor for &$executor {
            async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
                let Statement { doing, sql, parameters } = statement;
                let rows = self.query_typed(sql, &typed(parameters)).await;
                read(doing, &rows.map_err(|source| from_database(doing, source))?)
            }
        }
    )*};
}

executors!(
    tokio_postgres::Client,
    tokio_postgres::Transaction<'_>,
    deadpool_postgres::Client,
    deadpool_postgres::ClientWrapper,
    deadpool_postgres::Transaction<'_>,
);

impl Store {
    /// Runs a statement as a transaction of its own.
    pub(crate) async fn run(&self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        let Statement { doing, sql, parameters } = statement;
        read(doing, &self.query_unlogged(doing, sql, &typed(parameters)).await?)
    }
}

/// The parameters with their types, so that the statement need not be prepared. The driver logs the parameters of prepared
/// statements.
fn typed<'a>(parameters: &'a [Parameter<'_>]) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let typed = |parameter: &'a Parameter<'_>| {
        let ty = match parameter {
            Parameter::Text(_) => Type::TEXT,
            Parameter::Int4(_) => Type::INT4,
            Parameter::Int8(_) => Type::INT8,
            Parameter::Texts(_) => Type::TEXT_ARRAY,
        };
        (parameter as &(dyn ToSql + Sync), ty)
    };
    parameters.iter().map(typed).collect()
}

impl ToSql for Parameter<'_> {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        match self {
            Self::Text(value) => value.to_sql(ty, out),
            Self::Int4(value) => value.to_sql(ty, out),
            Self::Int8(value) => value.to_sql(ty, out),
            Self::Texts(values) => values.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::TEXT, Type::INT4, Type::INT8, Type::TEXT_ARRAY].contains(ty)
    }

    to_sql_checked!();
}

fn read(doing: &'static str, rows: &[tokio_postgres::Row]) -> Result<Vec<Row>, Error> {
    let row = |row: &tokio_postgres::Row| {
        let value = |(column, described): (usize, &Column)| {
            let Bytes(bytes) = row.try_get(column)?;
            Value::read(described.type_().oid(), bytes)
        };
        row.columns().iter().enumerate().map(value).collect()
    };
    collected(doing, rows.iter().map(row))
}

/// The bytes of a value of any type.
struct Bytes<'a>(Option<&'a [u8]>);

impl<'a> FromSql<'a> for Bytes<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &Type) -> Result<Self, BoxError> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
