//! Times as parameters and in rows.

use jiff::Timestamp;
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

/// A time of the database. One that a [`Timestamp`] cannot have, such as infinity, is the nearest that it can, and the other way round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) Timestamp);

/// A time of the database that a [`Timestamp`] can have. Infinity is an error. The driver's own reading adds up a span of calendar units,
/// which takes five times as long.
pub(super) struct ExactTime(pub(super) Timestamp);

impl<'a> FromSql<'a> for ExactTime {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Timestamp::from_microsecond(unix_micros(ty, raw)?)?))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

impl<'a> FromSql<'a> for Time {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        let micros = unix_micros(ty, raw)?;
        let nearest = if micros > 0 { Timestamp::MAX } else { Timestamp::MIN };
        Ok(Self(Timestamp::from_microsecond(micros).unwrap_or(nearest)))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }
}

/// Returns the microseconds of Unix time. Those of infinity are as many as there can be.
fn unix_micros(ty: &Type, raw: &[u8]) -> Result<i64, Box<dyn std::error::Error + Sync + Send>> {
    Ok(i64::from_sql(ty, raw)?.saturating_add(EPOCH_MICROS))
}

impl ToSql for Time {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.as_microsecond().saturating_sub(EPOCH_MICROS).max(EARLIEST_MICROS).to_sql(ty, out)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::TIMESTAMPTZ
    }

    to_sql_checked!();
}

/// The earliest time of PostgreSQL, in the year 4714 BC, in microseconds from the year 2000. It is later than [`Timestamp::MIN`].
const EARLIEST_MICROS: i64 = -211_813_488_000_000_000;

/// The beginning of the year 2000, from which PostgreSQL counts, in microseconds of Unix time.
const EPOCH_MICROS: i64 = 946_684_800_000_000;
