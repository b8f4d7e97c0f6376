//! Publishing as a statement that the caller runs, through a driver that this crate does not know.

use crate::error::Error;
use crate::model::channel::Channel;
use crate::store::executor::Parameter;
use crate::store::publish::{PublishOptions, Written};
use std::fmt;

/// A statement that publishes one event. [`prepared`](prepared()) makes it.
///
/// It returns one row of two columns: the event's id, a `bigint`, and a `boolean`, whether nothing was published because an
/// earlier event has the same deduplication key. The id is then that event's.
///
/// Errors are the driver's own. Their SQLSTATE says what is wrong: `docs/sql-contract.md` lists the codes of this library. A
/// driver that logs its parameters logs the payload, with its redacted fields.
pub struct Prepared {
    sql: &'static str,
    parameters: Vec<Value>,
}

/// A parameter of a [`Prepared`] statement. Its type in PostgreSQL follows from the statement, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A `text`, or null.
    Text(Option<String>),
    /// An `integer`.
    Int4(i32),
    /// A `bigint`, or null.
    Int8(Option<i64>),
}

impl Prepared {
    /// The statement, with `$1` for the first parameter.
    #[must_use]
    pub fn sql(&self) -> &'static str {
        self.sql
    }

    /// The values of the parameters, the first one first.
    #[must_use]
    pub fn parameters(&self) -> &[Value] {
        &self.parameters
    }
}

/// Without the parameters, which have the payload.
impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepared").field("sql", &self.sql).finish_non_exhaustive()
    }
}

/// Returns the statement that publishes an event, for a driver that is not an [`Executor`](crate::Executor). Run it in the
/// transaction that made the event true.
///
/// # Errors
/// [`Error::InvalidPayload`].
///
/// # Examples
/// ```
/// use pubsub::{Channel, prepared::Value};
///
/// #[derive(serde::Serialize, serde::Deserialize, Channel)]
/// #[channel("sms")]
/// struct Sms {
///     msg: String,
/// }
///
/// let insert = pubsub::prepared(&Sms { msg: "Welcome, Ada!".into() })?;
/// assert!(insert.sql().trim().starts_with("insert into pubsub.db_events"));
/// assert_eq!(insert.parameters()[0], Value::Text(Some("sms".into())));
/// # Ok::<(), pubsub::Error>(())
/// ```
pub fn prepared<C: Channel>(event: &C) -> Result<Prepared, Error> {
    prepared_with(event, PublishOptions::nothing())
}

/// Returns the statement that publishes an event with a key, a deduplication key or headers. Otherwise like [`prepared`](prepared()).
///
/// # Errors
/// As [`prepared`](prepared()).
pub fn prepared_with<C: Channel>(event: &C, options: &PublishOptions) -> Result<Prepared, Error> {
    let written = Written::new(event, options)?;
    let (sql, parameters) = written.statement();
    Ok(Prepared { sql, parameters: parameters.iter().map(Value::of).collect() })
}

impl Value {
    fn of(parameter: &Parameter<'_>) -> Self {
        match *parameter {
            Parameter::Text(value) => Self::Text(value.map(str::to_owned)),
            Parameter::Int4(value) => Self::Int4(value),
            Parameter::Int8(value) => Self::Int8(value),
            Parameter::Texts(_) => unreachable!("one event has no arrays"),
        }
    }
}
