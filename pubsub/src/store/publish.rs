//! Publishing in the caller's transaction, through the caller's connection.

use super::Store;
use super::secrecy::Secrecy;
use crate::error::{Error, PayloadError, from_database};
use crate::model::channel::Channel;
use crate::model::event::{EventId, Headers};
use crate::model::payload;
use crate::model::published::Published;
use std::borrow::Cow;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

const PUBLISH: &str = "
    insert into pubsub.db_events (channel, payload, version, key, headers, fingerprint)
    values ($1, $2::text::jsonb, $3, $4, $5::text::jsonb, $6)
    returning id";

const PUBLISH_ONCE: &str = "
    select p.id, p.is_duplicate from pubsub.publish_once($1, $2::text::jsonb, $7, $4, $5::text::jsonb, $3, $6) p";

const PUBLISH_ALL: &str = "
    insert into pubsub.db_events (channel, payload, version, fingerprint)
    select $1, p.payload::jsonb, $3, $4 from unnest($2::text[]) p (payload)";

const PUBLISH_ALL_KEYED: &str = "
    insert into pubsub.db_events (channel, payload, version, fingerprint, key)
    select $1, p.payload::jsonb, $3, $4, p.key from unnest($2::text[], $5::text[]) p (payload, key)";

const PUBLISH_ALL_ONCE: &str =
    "select pubsub.publish_all_once($1, $2::text[]::jsonb[], $6, $5, version => $3, fingerprint => $4)";

const DOING: &str = "publish";

/// The longest wait for one statement of a publish. After it the caller can only roll the transaction back.
const DEADLINE: Duration = Duration::from_secs(30);

/// Events in one statement of [`publish_all`]. Larger statements cost no less per event.
const EVENTS_PER_STATEMENT: usize = 1_000;

/// The bytes of payloads after which a statement of [`publish_all`] takes no further event.
const BYTES_PER_STATEMENT: usize = 4 * 1024 * 1024;

/// The key, the deduplication key and the headers that a publisher may add to an event.
///
/// # Examples
/// ```
/// use pubsub::PublishOptions;
///
/// let options = PublishOptions::new().key("order-17").header("traceparent", "00-4bf9…");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublishOptions {
    key: Option<String>,
    dedupe_key: Option<String>,
    headers: Headers,
}

impl PublishOptions {
    /// Returns options that set nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns a static reference to options that set nothing.
    pub(crate) fn nothing() -> &'static Self {
        static NOTHING: PublishOptions =
            PublishOptions { key: None, headers: Headers::new(), dedupe_key: None };
        &NOTHING
    }

    /// Sets the key: the entity that the event belongs to, an order or a customer. Default: the channel's ([`Channel::key`]). At
    /// most 1,024 bytes.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets the deduplication key: nothing is published if an event with this key was published on the channel within its
    /// deduplication window. Default: the channel's ([`Channel::dedupe_key`]). At most 1,024 bytes.
    #[must_use]
    pub fn dedupe_key(mut self, key: impl Into<String>) -> Self {
        self.dedupe_key = Some(key.into());
        self
    }

    /// Adds a header: text that travels with the payload. A header of the same name is replaced.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// Runs statements for a publisher: a reference to a client or a transaction of `tokio-postgres` or `deadpool-postgres`, or
/// to a running [`PubSub`](crate::PubSub).
///
/// An executor is passed by value. In a transaction, the event is published when the transaction commits. Through a client
/// or a `PubSub`, each statement is a transaction of its own.
///
/// This trait is sealed: only this crate implements it.
///
/// # Examples
/// ```
/// use pubsub::{Channel, Executor, Published, publish};
/// # use serde::{Deserialize, Serialize};
///
/// # #[derive(Serialize, Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { msg: String }
/// async fn greet(executor: impl Executor, name: &str) -> Result<Published, pubsub::Error> {
///     publish(executor, &Sms { msg: format!("Welcome, {name}!") }).await
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot publish",
    label = "neither a reference to a client or a transaction, nor to a `PubSub`",
    note = "pass `&client`, `&transaction` or `&pubsub`; a pool gives a client: `&pool.get().await?`"
)]
pub trait Executor: sealed::Executor + Send {}

pub(crate) mod sealed {
    use super::Statement;
    use crate::error::Error;
    use tokio_postgres::Row;

    pub(crate) type Rows = Vec<Row>;

    pub trait Executor {
        /// Runs one statement in a single round trip.
        fn run(&mut self, statement: Statement<'_>) -> impl Future<Output = Result<Rows, Error>> + Send;
    }
}

/// A statement that publishes.
#[derive(Debug, Clone, Copy)]
pub struct Statement<'a> {
    sql: &'static str,
    parameters: &'a [(&'a (dyn ToSql + Sync), Type)],
}

macro_rules! executors {
    ($($executor:ty),* $(,)?) => {$(
        impl Executor for &$executor {}

        impl sealed::Executor for &$executor {
            async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
                let rows = self.query_typed(statement.sql, statement.parameters).await;
                rows.map_err(|source| from_database(DOING, source))
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
    /// Publishes as a transaction of its own.
    pub(crate) async fn publish(&self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        self.query_unlogged(DOING, statement.sql, statement.parameters).await
    }
}

/// Publishes an event in the caller's transaction. The event is delivered if and only if the transaction commits.
///
/// Through a client, or through a running [`PubSub`](crate::PubSub), the event is published in a transaction of its own.
///
/// If an event with the same deduplication key was published on the channel within its deduplication window, nothing is
/// published, and the result is [`Published::Duplicate`] with the id of that event. The call waits for a transaction that is
/// publishing the same key.
///
/// # Errors
/// [`Error::UndeclaredChannel`] if the channel is not declared in this database, [`Error::PayloadTooLarge`],
/// [`Error::InvalidPayload`], or the database's own errors. After an error from the database the caller's transaction can
/// only be rolled back.
///
/// # Cancel safety
/// Dropping the future leaves unknown whether the event is in the transaction. Roll the transaction back.
pub async fn publish<C: Channel>(executor: impl Executor, event: &C) -> Result<Published, Error> {
    publish_with(executor, event, &PublishOptions::default()).await
}

/// Publishes an event with a key, a deduplication key or headers. Otherwise like [`publish`].
///
/// # Errors
/// As [`publish`].
///
/// # Cancel safety
/// As [`publish`].
pub async fn publish_with<C: Channel>(
    executor: impl Executor,
    event: &C,
    options: &PublishOptions,
) -> Result<Published, Error> {
    insert(executor, Written::new(event, options)).await
}

/// Publishes like [`publish_with`]. The event is encoded before the future is returned, so the future does not depend on `C`.
pub(crate) fn begin<'a, C: Channel>(
    executor: impl Executor + 'a,
    event: &C,
    options: &'a PublishOptions,
) -> impl Future<Output = Result<Published, Error>> + Send + 'a {
    insert(executor, Written::new(event, options).map(Written::into_owned))
}

async fn insert(mut executor: impl Executor, row: Result<Written<'_>, Error>) -> Result<Published, Error> {
    let row = row?;
    let (sql, parameters) = row.statement();
    let rows = run(&mut executor, row.secrecy, sql, &parameters).await?;
    let answer = rows.first().expect("whatever publishes an event returns its id");
    let published = || {
        let id = EventId(answer.try_get(0)?);
        let is_duplicate = row.dedupe_key.is_some() && answer.try_get(1)?;
        Ok(if is_duplicate { Published::Duplicate(id) } else { Published::New(id) })
    };
    published().map_err(|source| Error::Database { doing: DOING, source })
}

/// Publishes many events of one channel, a thousand or 4 MiB per statement, several times faster than one by one. Returns how many were
/// published: all events except those whose deduplication key was published before.
///
/// Transactions that publish many deduplication keys in different orders may deadlock. The database then aborts one of them
/// (SQLSTATE 40P01). Within one call of up to a thousand events the order is always the same.
///
/// # Errors
/// As [`publish`]. Without a transaction, the events of the statements before the failing one stay published.
///
/// # Cancel safety
/// As [`publish`]. Without a transaction, some of the events may be published and others not.
pub async fn publish_all<'a, C: Channel>(
    mut executor: impl Executor,
    events: impl IntoIterator<Item = &'a C>,
) -> Result<u64, Error> {
    let (channel, version, fingerprint) = (C::NAME, version::<C>(), stored(C::FINGERPRINT));
    let secrecy = Secrecy::of::<C>();
    let mut published = 0;
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let mut rows = Columns::default();
        while !rows.is_full()
            && let Some(event) = events.next()
        {
            rows.push(event)?;
        }
        let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
            (&channel, Type::TEXT),
            (&rows.payloads, Type::TEXT_ARRAY),
            (&version, Type::INT4),
            (&fingerprint, Type::INT8),
            (&rows.keys, Type::TEXT_ARRAY),
            (&rows.dedupe_keys, Type::TEXT_ARRAY),
        ];
        let is_some = Option::<Cow<'_, str>>::is_some;
        published += if rows.dedupe_keys.iter().any(is_some) {
            let rows = run(&mut executor, secrecy, PUBLISH_ALL_ONCE, &parameters).await?;
            let count: i64 = rows.first().expect("a function returns its value").get(0);
            count.unsigned_abs()
        } else {
            let (sql, parameters) = match rows.keys.iter().any(is_some) {
                true => (PUBLISH_ALL_KEYED, &parameters[..5]),
                false => (PUBLISH_ALL, &parameters[..4]),
            };
            run(&mut executor, secrecy, sql, parameters).await?;
            rows.payloads.len() as u64
        };
    }
    Ok(published)
}

/// An event as the columns of its row.
struct Written<'a> {
    secrecy: Secrecy,
    channel: &'static str,
    payload: String,
    version: i32,
    key: Option<Cow<'a, str>>,
    headers: Option<String>,
    dedupe_key: Option<Cow<'a, str>>,
    fingerprint: Option<i64>,
}

impl<'a> Written<'a> {
    fn new<C: Channel>(event: &'a C, options: &'a PublishOptions) -> Result<Self, Error> {
        let invalid = |source| Error::InvalidPayload { channel: C::NAME, source };
        let headers = (!options.headers.is_empty()).then(|| payload::encode(&options.headers)).transpose();
        Ok(Self {
            secrecy: Secrecy::of::<C>(),
            channel: C::NAME,
            payload: payload::encode_event(event).map_err(invalid)?,
            version: version::<C>(),
            key: key(options.key.as_deref(), || event.key()).map_err(invalid)?,
            headers: headers.map_err(invalid)?,
            dedupe_key: key(options.dedupe_key.as_deref(), || event.dedupe_key()).map_err(invalid)?,
            fingerprint: stored(C::FINGERPRINT),
        })
    }

    /// Returns the same columns as owned values.
    fn into_owned(self) -> Written<'static> {
        let owned = |key: Option<Cow<'_, str>>| key.map(|key| Cow::Owned(key.into_owned()));
        Written { key: owned(self.key), dedupe_key: owned(self.dedupe_key), ..self }
    }

    /// Returns the statement that publishes the event. Without a deduplication key it is a plain insert.
    fn statement(&self) -> (&'static str, Vec<(&(dyn ToSql + Sync), Type)>) {
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![
            (&self.channel, Type::TEXT),
            (&self.payload, Type::TEXT),
            (&self.version, Type::INT4),
            (&self.key, Type::TEXT),
            (&self.headers, Type::TEXT),
            (&self.fingerprint, Type::INT8),
        ];
        if self.dedupe_key.is_none() {
            return (PUBLISH, parameters);
        }
        parameters.push((&self.dedupe_key, Type::TEXT));
        (PUBLISH_ONCE, parameters)
    }
}

/// Many events as the columns of their rows.
#[derive(Default)]
struct Columns<'a> {
    payloads: Vec<String>,
    keys: Vec<Option<Cow<'a, str>>>,
    dedupe_keys: Vec<Option<Cow<'a, str>>>,
    bytes: usize,
}

impl<'a> Columns<'a> {
    /// Whether no further event fits into the statement.
    fn is_full(&self) -> bool {
        self.payloads.len() == EVENTS_PER_STATEMENT || self.bytes >= BYTES_PER_STATEMENT
    }

    fn push<C: Channel>(&mut self, event: &'a C) -> Result<(), Error> {
        let invalid = |source| Error::InvalidPayload { channel: C::NAME, source };
        let payload = payload::encode_event(event).map_err(invalid)?;
        self.bytes += payload.len();
        self.payloads.push(payload);
        self.keys.push(key(None, || event.key()).map_err(invalid)?);
        self.dedupe_keys.push(key(None, || event.dedupe_key()).map_err(invalid)?);
        Ok(())
    }
}

/// Returns the key that the publisher set, or else the event's own. Refuses a key that cannot be stored.
fn key<'a>(
    said: Option<&'a str>,
    own: impl FnOnce() -> Option<Cow<'a, str>>,
) -> Result<Option<Cow<'a, str>>, PayloadError> {
    let key = said.map(Cow::Borrowed).or_else(own);
    key.iter().try_for_each(|key| payload::check_key(key))?;
    Ok(key)
}

fn version<C: Channel>() -> i32 {
    i32::try_from(C::VERSION).unwrap_or(i32::MAX)
}

/// Returns a fingerprint as the database stores it, with the same 64 bits; `None` if it is not known.
pub(super) fn stored(fingerprint: u64) -> Option<i64> {
    (fingerprint != 0).then_some(fingerprint.cast_signed())
}

/// Runs a statement with a deadline. An error of a channel with redacted fields does not quote the payload.
async fn run(
    executor: &mut impl Executor,
    secrecy: Secrecy,
    sql: &'static str,
    parameters: &[(&(dyn ToSql + Sync), Type)],
) -> Result<Vec<Row>, Error> {
    let statement = Statement { sql, parameters };
    tokio::time::timeout(DEADLINE, executor.run(statement))
        .await
        .unwrap_or(Err(Error::Timeout { doing: DOING, after: DEADLINE }))
        .map_err(|error| secrecy.keep(error))
}
