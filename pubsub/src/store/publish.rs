//! Publishing: in the caller's transaction, through whatever he talks to PostgreSQL with.

use super::Store;
use crate::error::{Error, from_database};
use crate::model::channel::Channel;
use crate::model::event::{EventId, Headers};
use crate::model::payload;
use std::time::Duration;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

const PUBLISH: &str = "
    insert into pubsub.db_events (channel, payload, version, key, headers)
    values ($1, $2::text::jsonb, $3, $4, $5::text::jsonb)
    returning id";

const PUBLISH_ALL: &str = "
    insert into pubsub.db_events (channel, payload, version)
    select $1, p.payload::jsonb, $3 from unnest($2::text[]) p (payload)";

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

    /// Nothing said, for as long as anybody likes.
    pub(crate) fn nothing() -> &'static Self {
        static NOTHING: PublishOptions = PublishOptions { key: None, headers: Headers::new() };
        &NOTHING
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

/// Anything that runs statements for its caller: a client or a transaction of `tokio-postgres` or `deadpool-postgres`, or
/// a running [`PubSub`](crate::PubSub), for which each statement is a transaction of its own.
///
/// Sealed: the list is as long as it is.
pub trait Session: sealed::Session + Sync {}

/// Who runs statements on connections of ours.
pub(crate) trait Pooled {
    /// The connections, while there are any.
    fn store(&self) -> Result<&Store, Error>;
}

mod sealed {
    use super::{Error, Row, ToSql, Type};

    pub trait Session {
        /// One statement whose parameter types are known: a single round trip.
        fn run(
            &self,
            sql: &str,
            parameters: &[(&(dyn ToSql + Sync), Type)],
        ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;
    }
}

impl<P: Pooled + Sync> Session for P {}

impl<P: Pooled + Sync> sealed::Session for P {
    async fn run(&self, sql: &str, parameters: &[(&(dyn ToSql + Sync), Type)]) -> Result<Vec<Row>, Error> {
        let parameters: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|(value, _)| *value).collect();
        self.store()?.query(DOING, sql, &parameters).await
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
            ) -> Result<Vec<Row>, Error> {
                self.query_typed(sql, parameters).await.map_err(|source| from_database(DOING, source))
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
/// With a client instead of a transaction, or with a running [`PubSub`](crate::PubSub), the event is a transaction of its
/// own.
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
    insert(session, Written::new(event, options)).await
}

/// [`publish_with`], whose future needs nothing of `C`: the event is written before it is returned.
pub(crate) fn begin<'a, C: Channel>(
    session: &'a impl Session,
    event: &C,
    options: &'a PublishOptions,
) -> impl Future<Output = Result<EventId, Error>> + Send + 'a {
    insert(session, Written::new(event, options))
}

async fn insert(session: &impl Session, row: Result<Written<'_>, Error>) -> Result<EventId, Error> {
    let row = row?;
    let parameters: [(&(dyn ToSql + Sync), Type); 5] = [
        (&row.channel, Type::TEXT),
        (&row.payload, Type::TEXT),
        (&row.version, Type::INT4),
        (&row.key, Type::TEXT),
        (&row.headers, Type::TEXT),
    ];
    let rows = within_deadline(session.run(PUBLISH, &parameters)).await?;
    Ok(EventId(rows.first().expect("an insert returns its row").get(0)))
}

/// Publishes many events of one channel, a thousand to a statement: several times as many per second as one by one.
/// Returns how many.
///
/// # Errors
/// As [`publish`]. Without a transaction, the statements before the failing one stay.
pub async fn publish_all<'a, C: Channel>(
    session: &impl Session,
    events: impl IntoIterator<Item = &'a C>,
) -> Result<u64, Error> {
    let (channel, version) = (C::NAME, version::<C>());
    let mut published = 0;
    let mut events = events.into_iter().peekable();
    while events.peek().is_some() {
        let payloads =
            events.by_ref().take(EVENTS_PER_STATEMENT).map(encode).collect::<Result<Vec<String>, Error>>()?;
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&channel, Type::TEXT), (&payloads, Type::TEXT_ARRAY), (&version, Type::INT4)];
        within_deadline(session.run(PUBLISH_ALL, &parameters)).await?;
        published += payloads.len() as u64;
    }
    Ok(published)
}

/// An event as the columns of its row.
struct Written<'a> {
    channel: &'static str,
    payload: String,
    version: i32,
    key: Option<&'a str>,
    headers: Option<String>,
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
        })
    }
}

fn encode<C: Channel>(event: &C) -> Result<String, Error> {
    payload::encode(event).map_err(|source| Error::InvalidPayload { channel: C::NAME, source })
}

fn version<C: Channel>() -> i32 {
    i32::try_from(C::VERSION).unwrap_or(i32::MAX)
}

async fn within_deadline(
    publishing: impl Future<Output = Result<Vec<Row>, Error>>,
) -> Result<Vec<Row>, Error> {
    tokio::time::timeout(DEADLINE, publishing)
        .await
        .unwrap_or(Err(Error::Timeout { doing: DOING, after: DEADLINE }))
}
