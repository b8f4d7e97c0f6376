//! Publishing and settling by statements that the caller runs, through a driver that this crate does not know.

use crate::error::Error;
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::store::executor::{Parameter, array};
use crate::store::publish::{Columns, PublishOptions, Written};
use crate::store::settle::settling;
use std::fmt;

/// One statement for all kinds of events. The arrays are texts, because few drivers have arrays with nulls.
const PUBLISH_ALL: &str = "
    select pubsub.publish_all_once(
        $1, $2::text::text[]::jsonb[], $6::text::text[], $5::text::text[], version => $3, fingerprint => $4
    ) as published";

/// Without a column of type `void`, which some drivers cannot read.
const SETTLE_IN: &str = "select true as is_settled from pubsub.settle_in($1, $2, $3)";

/// A statement for a driver that is not an [`Executor`](crate::Executor). Run it in the transaction that made the event true, or
/// that has the handler's work. It returns one row:
///
/// | made by | columns |
/// |---|---|
/// | [`prepared`](prepared()), [`prepared_with`] | `id`, a `bigint`: the event's id; `is_duplicate`, a `boolean`: whether nothing was published because an earlier event, whose id it is then, has the same deduplication key |
/// | [`prepared_all`] | `published`, a `bigint`: how many events were published |
/// | [`prepared_settle_in`] | `is_settled`, a `boolean`: always true |
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
    fn new(sql: &'static str, parameters: &[Parameter<'_>]) -> Self {
        Self { sql, parameters: parameters.iter().map(Value::of).collect() }
    }

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
    Ok(Prepared::new(sql, &parameters))
}

/// Returns the statements that publish many events, to be run in their order. Each has a thousand events or 4 MiB of them, as
/// [`publish_all`](crate::publish_all) has, and without events there is none. Otherwise like [`prepared`](prepared()).
///
/// # Errors
/// As [`prepared`](prepared()).
///
/// # Examples
/// ```
/// # use pubsub::Channel;
/// # #[derive(serde::Serialize, serde::Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { msg: String }
/// let many: Vec<Sms> = (0..2_500).map(|n| Sms { msg: n.to_string() }).collect();
/// for insert in pubsub::prepared::prepared_all(&many)? {
///     assert!(insert.sql().contains("pubsub.publish_all_once"));
/// }
/// # Ok::<(), pubsub::Error>(())
/// ```
pub fn prepared_all<'a, C: Channel>(events: impl IntoIterator<Item = &'a C>) -> Result<Vec<Prepared>, Error> {
    let mut events = events.into_iter().fuse();
    let mut statements = Vec::new();
    while let Some(rows) = Columns::take(&mut events)? {
        statements.push(Prepared::new(PUBLISH_ALL, &rows.parameters::<C>()));
    }
    Ok(statements)
}

/// Returns the statement that settles a delivery in the handler's own transaction, like
/// [`Delivery::settle_in`](crate::Delivery::settle_in): run it last, commit, and answer `Ok(())`. From this call on, only the
/// database decides whether the delivery is done.
///
/// If the lease was lost, the statement fails with SQLSTATE `PB010`.
///
/// # Examples
/// ```
/// # use pubsub::{Channel, Delivery, Handled};
/// use pubsub::prepared::{Prepared, prepared_settle_in};
/// # #[derive(serde::Serialize, serde::Deserialize, Channel)]
/// # #[channel("order_paid")]
/// # struct OrderPaid { order: i64 }
/// # trait Driver { async fn run(&self, statement: &Prepared) -> Result<(), std::io::Error>; }
///
/// // A transaction of your driver, which has the handler's work in it.
/// async fn settle(paid: &Delivery<OrderPaid>, transaction: impl Driver) -> Handled {
///     transaction.run(&prepared_settle_in(paid)).await?;
///     Ok(())
/// }
/// ```
#[must_use = "the delivery is settled only by running the statement"]
pub fn prepared_settle_in<C: Channel>(delivery: &Delivery<C>) -> Prepared {
    Prepared::new(SETTLE_IN, &settling(delivery))
}

impl Value {
    fn of(parameter: &Parameter<'_>) -> Self {
        match *parameter {
            Parameter::Text(value) => Self::Text(value.map(str::to_owned)),
            Parameter::Int4(value) => Self::Int4(value),
            Parameter::Int8(value) => Self::Int8(value),
            Parameter::Texts(values) => Self::Text(Some(array(values))),
        }
    }
}
