//! Publishing: in the caller's transaction, through whatever he talks to PostgreSQL with.

use super::{Parameters, Store};
use crate::error::{Error, from_database};
use crate::model::channel::Channel;
use crate::model::event::{EventId, Headers};
use crate::model::payload;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

const PUBLISH: &str = "
    insert into pubsub.db_events (channel, payload, version, key, headers, fingerprint)
    values ($1, $2::text::jsonb, $3, $4, $5::text::jsonb, $6)
    returning id";

const PUBLISH_ALL: &str = "
    insert into pubsub.db_events (channel, payload, version, fingerprint)
    select $1, p.payload::jsonb, $3, $4 from unnest($2::text[]) p (payload)";

const DOING: &str = "publish";

/// Longest wait for the database to take one statement of a publish. After it the caller's transaction is of no use.
const DEADLINE: Duration = Duration::from_secs(30);

/// Events in one statement of [`publish_all`]: past a thousand a statement is no cheaper per event.
const EVENTS_PER_STATEMENT: usize = 1_000;

/// What a publisher may say about an event beside its payload.
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
    headers: Headers,
}

impl PublishOptions {
    /// Nothing said.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the event belongs to: an order, a customer.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Text that travels beside the payload. The same name again replaces it.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

/// Anything that runs statements for its caller: a client or a transaction of `tokio-postgres` or `deadpool-postgres`.
///
/// Sealed: the list is as long as it is.
pub trait Session: sealed::Session {}

mod sealed {
    use super::{Row, ToSql, Type};

    pub trait Session {
        /// One statement whose parameter types are known: a single round trip.
        fn run(
            &self,
            sql: &str,
            parameters: &[(&(dyn ToSql + Sync), Type)],
        ) -> impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>> + Send;
    }
}

macro_rules! sessions {
    ($($session:ty),* $(,)?) => {$(
        impl Session for $session {}

        impl sealed::Session for $session {
            async fn run(
                &self,
                sql: &str,
                parameters: &[(&(dyn ToSql + Sync), Type)],
            ) -> Result<Vec<Row>, tokio_postgres::Error> {
                self.query_typed(sql, parameters).await
            }
        }
    )*};
}

sessions!(
    tokio_postgres::Client,
    tokio_postgres::Transaction<'_>,
    deadpool_postgres::Client,
    deadpool_postgres::ClientWrapper,
    deadpool_postgres::Transaction<'_>,
);

/// Publishes an event in the caller's transaction: committed, it will be delivered; rolled back, it never was.
///
/// With a client instead of a transaction the event is a transaction of its own.
///
/// # Errors
/// [`Error::UndeclaredChannel`] if nobody has declared the channel in this database, [`Error::PayloadTooLarge`],
/// [`Error::InvalidPayload`], or the database's own errors. After an error from the database the caller's transaction can
/// only be rolled back.
///
/// # Cancel safety
/// Dropping the future leaves it open whether the event is in the transaction: roll back.
pub async fn publish<C: Channel>(session: &impl Session, event: &C) -> Result<EventId, Error> {
    publish_with(session, event, &PublishOptions::default()).await
}

/// Publishes an event with a key or headers. Otherwise [`publish`].
///
/// # Errors
/// As [`publish`].
pub async fn publish_with<C: Channel>(
    session: &impl Session,
    event: &C,
    options: &PublishOptions,
) -> Result<EventId, Error> {
    let row = Written::new(event, options)?;
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&row.channel, Type::TEXT),
        (&row.payload, Type::TEXT),
        (&row.version, Type::INT4),
        (&row.key, Type::TEXT),
        (&row.headers, Type::TEXT),
        (&row.fingerprint, Type::INT8),
    ];
    let rows = within_deadline(session.run(PUBLISH, &parameters)).await?;
    Ok(EventId(rows.first().expect("an insert returns its row").get(0)))
}

/// Publishes many events of one channel, a thousand to a statement: several times as many per second as one by one.
/// Returns how many.
///
/// # Errors
/// As [`publish`]. With a client instead of a transaction, the statements before the failing one stay.
pub async fn publish_all<'a, C: Channel>(
    session: &impl Session,
    events: impl IntoIterator<Item = &'a C>,
) -> Result<u64, Error> {
    let (channel, version, fingerprint) = (C::NAME, version::<C>(), stored(C::FINGERPRINT));
    let mut published = 0;
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let payloads =
            events.by_ref().take(EVENTS_PER_STATEMENT).map(encode).collect::<Result<Vec<String>, Error>>()?;
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&channel, Type::TEXT),
            (&payloads, Type::TEXT_ARRAY),
            (&version, Type::INT4),
            (&fingerprint, Type::INT8),
        ];
        within_deadline(session.run(PUBLISH_ALL, &parameters)).await?;
        published += payloads.len() as u64;
    }
    Ok(published)
}

impl Store {
    /// Publishes an event as a transaction of its own.
    pub(crate) async fn publish<C: Channel>(
        &self,
        event: &C,
        options: &PublishOptions,
    ) -> Result<EventId, Error> {
        let row = Written::new(event, options)?;
        let parameters: Parameters<'_> =
            &[&row.channel, &row.payload, &row.version, &row.key, &row.headers, &row.fingerprint];
        Ok(EventId(self.query_value(DOING, PUBLISH, parameters).await?))
    }
}

/// An event as the columns of its row.
struct Written<'a> {
    channel: &'static str,
    payload: String,
    version: i32,
    key: Option<&'a str>,
    headers: Option<String>,
    fingerprint: Option<i64>,
}

impl<'a> Written<'a> {
    fn new<C: Channel>(event: &C, options: &'a PublishOptions) -> Result<Self, Error> {
        let invalid = |source| Error::InvalidPayload { channel: C::NAME, source };
        let headers = (!options.headers.is_empty()).then(|| payload::encode(&options.headers)).transpose();
        Ok(Self {
            channel: C::NAME,
            payload: encode(event)?,
            version: version::<C>(),
            key: options.key.as_deref(),
            headers: headers.map_err(invalid)?,
            fingerprint: stored(C::FINGERPRINT),
        })
    }
}

fn encode<C: Channel>(event: &C) -> Result<String, Error> {
    payload::encode(event).map_err(|source| Error::InvalidPayload { channel: C::NAME, source })
}

fn version<C: Channel>() -> i32 {
    i32::try_from(C::VERSION).unwrap_or(i32::MAX)
}

/// A fingerprint as the column of a row: the same 64 bits; `None` if it is not known.
pub(super) fn stored(fingerprint: u64) -> Option<i64> {
    (fingerprint != 0).then_some(fingerprint.cast_signed())
}

async fn within_deadline(
    publishing: impl Future<Output = Result<Vec<Row>, tokio_postgres::Error>>,
) -> Result<Vec<Row>, Error> {
    tokio::time::timeout(DEADLINE, publishing)
        .await
        .map_err(|_| Error::Timeout { doing: DOING, after: DEADLINE })?
        .map_err(|source| from_database(DOING, source))
}
