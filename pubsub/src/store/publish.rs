//! Publishing in the caller's transaction, through the caller's connection.

use super::executor::{self, BoxError, Executor, Parameter, Row, Statement};
use super::secrecy::Secrecy;
use crate::error::{Error, PayloadError, from_driver};
use crate::model::channel::Channel;
use crate::model::event::{EventId, Headers};
use crate::model::payload;
use crate::model::published::Published;
use std::borrow::Cow;

const PUBLISH: &str = "
    insert into pubsub.db_events (channel, payload, version, key, headers, fingerprint)
    values ($1, $2::text::jsonb, $3, $4, $5::text::jsonb, $6)
    returning id, false as is_duplicate";

const PUBLISH_ONCE: &str = "
    select p.id, p.is_duplicate from pubsub.publish_once($1, $2::text::jsonb, $7, $4, $5::text::jsonb, $3, $6) p";

const PUBLISH_ALL: &str = "
    insert into pubsub.db_events (channel, payload, version, fingerprint)
    select $1, p.payload::jsonb, $3, $4 from unnest($2::text[]) p (payload)";

const PUBLISH_ALL_KEYED: &str = "
    insert into pubsub.db_events (channel, payload, version, fingerprint, key)
    select $1, p.payload::jsonb, $3, $4, p.key from unnest($2::text[], $5::text[]) p (payload, key)";

const PUBLISH_ALL_ONCE: &str = "select pubsub.publish_all_once($1, $2::text[]::jsonb[], $6::text[], $5::text[], version => $3, fingerprint => $4)";

const DOING: &str = "publish";

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
    let id = EventId(answer.get(0).map_err(unexpected)?);
    let is_duplicate = answer.get(1).map_err(unexpected)?;
    Ok(if is_duplicate { Published::Duplicate(id) } else { Published::New(id) })
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
    let secrecy = Secrecy::of::<C>();
    let mut published = 0;
    let mut events = events.into_iter().fuse();
    while let Some(rows) = Columns::take(&mut events)? {
        let parameters = rows.parameters::<C>();
        let is_some = Option::<Cow<'_, str>>::is_some;
        published += if rows.dedupe_keys.iter().any(is_some) {
            let rows = run(&mut executor, secrecy, PUBLISH_ALL_ONCE, &parameters).await?;
            let count: i64 =
                rows.first().expect("a function returns its value").get(0).map_err(unexpected)?;
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
pub(super) struct Written<'a> {
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
    pub(super) fn new<C: Channel>(event: &'a C, options: &'a PublishOptions) -> Result<Self, Error> {
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
    pub(super) fn statement(&self) -> (&'static str, Vec<Parameter<'_>>) {
        let mut parameters = vec![
            Parameter::Text(Some(self.channel)),
            Parameter::Text(Some(&self.payload)),
            Parameter::Int4(self.version),
            Parameter::Text(self.key.as_deref()),
            Parameter::Text(self.headers.as_deref()),
            Parameter::Int8(self.fingerprint),
        ];
        if self.dedupe_key.is_none() {
            return (PUBLISH, parameters);
        }
        parameters.push(Parameter::Text(self.dedupe_key.as_deref()));
        (PUBLISH_ONCE, parameters)
    }
}

/// Many events as the columns of their rows.
#[derive(Default)]
pub(super) struct Columns<'a> {
    payloads: Vec<Option<Cow<'a, str>>>,
    keys: Vec<Option<Cow<'a, str>>>,
    dedupe_keys: Vec<Option<Cow<'a, str>>>,
    bytes: usize,
}

impl<'a> Columns<'a> {
    /// Takes the events of one statement. `None` if there are no more.
    pub(super) fn take<C: Channel>(
        events: &mut std::iter::Fuse<impl Iterator<Item = &'a C>>,
    ) -> Result<Option<Self>, Error> {
        let mut columns = Self::default();
        while !columns.is_full()
            && let Some(event) = events.next()
        {
            columns.push(event)?;
        }
        Ok((!columns.payloads.is_empty()).then_some(columns))
    }

    /// Returns the parameters of the statements that publish them.
    pub(super) fn parameters<C: Channel>(&self) -> [Parameter<'_>; 6] {
        [
            Parameter::Text(Some(C::NAME)),
            Parameter::Texts(&self.payloads),
            Parameter::Int4(version::<C>()),
            Parameter::Int8(stored(C::FINGERPRINT)),
            Parameter::Texts(&self.keys),
            Parameter::Texts(&self.dedupe_keys),
        ]
    }

    /// Whether no further event fits into the statement.
    fn is_full(&self) -> bool {
        self.payloads.len() == EVENTS_PER_STATEMENT || self.bytes >= BYTES_PER_STATEMENT
    }

    fn push<C: Channel>(&mut self, event: &'a C) -> Result<(), Error> {
        let invalid = |source| Error::InvalidPayload { channel: C::NAME, source };
        let payload = payload::encode_event(event).map_err(invalid)?;
        self.bytes += payload.len();
        self.payloads.push(Some(Cow::Owned(payload)));
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

/// Runs a statement. An error of a channel with redacted fields does not quote the payload.
async fn run(
    executor: &mut impl Executor,
    secrecy: Secrecy,
    sql: &'static str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Error> {
    let statement = Statement { doing: DOING, sql, parameters };
    executor::run(executor, statement).await.map_err(|error| secrecy.keep(error))
}

/// An answer that this version does not understand.
fn unexpected(source: BoxError) -> Error {
    from_driver(DOING, None, source)
}
