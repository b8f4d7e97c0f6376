//! Errors, as callers of this crate see them.

mod chain;
mod debug;
mod payload;
mod printable;
mod refusal;
mod retryable;

use std::time::Duration;

pub(crate) use chain::error_chain;
pub use payload::PayloadError;
use printable::printable;
pub(crate) use refusal::{Refusal, is_of_class, may_end_session};

/// An error of this crate.
///
/// `Display` names the operation that failed, and `source()` returns the cause. [`code`](Self::code) is stable, so that programs
/// can compare it. [`is_retryable`](Self::is_retryable) tells whether the same call may succeed later.
///
/// `Debug` writes the error and its causes in one line, because `main` and `unwrap` show an error that way, and `{:#?}` its structure.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database URL, or the connection string, cannot be used. It is not repeated here, because it may contain a password.
    #[error("the database URL cannot be used: {reason}")]
    InvalidUrl {
        /// The reason.
        reason: String,
    },

    /// No connection could be made.
    #[error("cannot connect to {servers}")]
    Connect {
        /// The servers that were tried, each with its port, and why each but the last was given up.
        servers: String,
        /// Why the last one was given up: a `tokio_postgres::Error`, unless its name could not be resolved, or it was silent.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// One side did not accept the other on an encrypted connection, or there is none where there should be.
    #[error("{message}")]
    Tls {
        /// A sentence that names the server, what is wrong, and what to write or to do.
        message: String,
        /// The reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The [password provider](crate::Target::password_provider) failed.
    #[error("the password for the database could not be had")]
    Password(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// A pooler does not give what this library needs: sessions that are kept, or transactions.
    #[error("{message}")]
    Pooler {
        /// A sentence that names the pooler, what is wrong, and what to write.
        message: String,
    },

    /// The database refused a statement, or the connection broke while it ran. After a broken connection it is unknown
    /// whether the statement took effect.
    #[error("the database failed to {doing}")]
    Database {
        /// The operation. It completes the sentence "failed to ..".
        doing: &'static str,
        /// PostgreSQL's code, or `None` if the server did not say one: the connection broke, or a value could not be sent or
        /// read. sqlx, SeaORM and diesel-async have `08006` for a connection that broke.
        sqlstate: Option<String>,
        /// The error of the driver whose connection it was: a `tokio_postgres::Error`, unless an [executor](crate::Executor) of
        /// another driver was given.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },

    /// The database did not answer in time. It is unknown whether the statement took effect.
    #[error("no answer from the database within {after:?} to {doing}")]
    Timeout {
        /// The operation.
        doing: &'static str,
        /// The deadline that passed.
        after: Duration,
    },

    /// The channel is not declared in this database.
    #[error("{message}. {hint}")]
    UndeclaredChannel {
        /// The database's message, which names the channel.
        message: String,
        /// The nearest declared channel, and how to declare one.
        hint: String,
    },

    /// The channel has no subscription of this name.
    #[error("{message}")]
    UnknownSubscription {
        /// The database's message, which names the channel and the subscription.
        message: String,
    },

    /// The subscription or the channel is not removed, because something would be lost.
    /// [`Subscription::force_unsubscribe`](crate::Subscription::force_unsubscribe) and
    /// [`force_drop_channel`](crate::admin::force_drop_channel) remove it all the same.
    #[error("{message}. {detail}")]
    InUse {
        /// The database's message, which names the subscription or the channel.
        message: String,
        /// The processes that run it, and the deliveries that are left; or what to remove first.
        detail: String,
    },

    /// The delivery cannot be settled by the handler any more: its lease was taken over, or it was settled before. See
    /// [`Delivery::settle_in`](crate::Delivery::settle_in).
    #[error("{message}. {hint}")]
    LeaseLost {
        /// The database's message, which names the event, the lease and the process.
        message: String,
        /// How this happens.
        hint: String,
    },

    /// The payload is larger than the channel allows.
    #[error("{message}")]
    PayloadTooLarge {
        /// The database's message, which names the channel, the size and the limit.
        message: String,
    },

    /// The channel is strict, and the payload does not match its declared schema.
    #[error("{message}")]
    PayloadMismatch {
        /// The database's message, which names the channel, the field, and the expected and the actual value.
        message: String,
    },

    /// The payload cannot be stored.
    #[error("the payload cannot be published on channel `{}`", printable(channel))]
    InvalidPayload {
        /// The channel.
        channel: &'static str,
        /// The reason.
        #[source]
        source: PayloadError,
    },

    /// The server is older than the oldest supported version of PostgreSQL.
    #[error("the server is PostgreSQL {found}, but the oldest supported version is PostgreSQL {oldest}")]
    ServerTooOld {
        /// The server's version.
        found: String,
        /// The oldest supported major version.
        oldest: u32,
    },

    /// The database's encoding cannot hold every text.
    #[error(
        "the encoding of the database is {found}, but only UTF8 is supported: \
         use a database that was created with `encoding 'UTF8'`"
    )]
    UnsupportedEncoding {
        /// The database's encoding.
        found: String,
    },

    /// The database has no `pubsub` schema.
    #[error("the database has no pubsub schema: run `pubsub::migrate` first")]
    SchemaMissing,

    /// The database's schema is older than this library needs.
    #[error(
        "the pubsub schema is at version {found}, but this library needs version {needed}: run `pubsub::migrate` first"
    )]
    SchemaTooOld {
        /// The schema's version.
        found: i32,
        /// The version that this library needs.
        needed: i32,
    },

    /// The database's schema is newer than this library knows, and does not work with it.
    #[error(
        "the pubsub schema is at version {found} and works with libraries from version {compatible_from} on, \
         but this library has version {known}: update the `pubsub` crate"
    )]
    SchemaTooNew {
        /// The schema's version.
        found: i32,
        /// The oldest version whose library works with the schema.
        compatible_from: i32,
        /// The version that this library knows.
        known: i32,
    },

    /// The database was moved to another cluster, for example restored from a dump, and reading on might skip events.
    /// [`rebase`](crate::admin::rebase) repairs the subscriptions.
    #[error("{message}. {hint}")]
    Moved {
        /// The database's message.
        message: String,
        /// The function to run.
        hint: String,
    },

    /// A migration failed and was rolled back. Migrations before it remain.
    #[error("the pubsub schema cannot be migrated")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The name cannot be that of a subscription.
    #[error(
        "`{}` cannot be the name of a subscription: use 1 to 63 characters of a-z 0-9 . _ -, starting with a letter or a digit",
        printable(name)
    )]
    InvalidSubscriptionName {
        /// The name.
        name: String,
    },

    /// One process subscribed twice under the same name.
    #[error("subscription `{name}` of channel `{channel}` was given two handlers")]
    DuplicateSubscription {
        /// The channel.
        channel: &'static str,
        /// The subscription.
        name: String,
    },

    /// The value of a setting is not allowed. [`Builder::start`](crate::Builder::start) checks all settings first.
    #[error("{place}: `{setting}` must be {allowed}, not {value}")]
    InvalidSetting {
        /// Where the setting was made: the runtime, a channel, or a subscription.
        place: String,
        /// The setting, by the name of the method or the attribute that sets it.
        setting: &'static str,
        /// The value.
        value: String,
        /// The values that it may have. They complete the sentence "must be ..".
        allowed: String,
    },

    /// The text is not an [`EventId`](crate::EventId).
    #[error("`{}` is not an event id: expected a whole number without a sign", printable(text))]
    InvalidEventId {
        /// The text.
        text: String,
        /// The reason.
        #[source]
        source: std::num::ParseIntError,
    },

    /// `start` was called outside an actix system.
    #[error("no actix system runs on this thread: start inside `#[actix::main]` or `#[actix_web::main]`")]
    NoActixSystem,

    /// The runtime's threads could not be started.
    #[error("the threads of the pubsub runtime cannot be started")]
    Threads(#[source] std::io::Error),

    /// The HTTP server of [`PubSub::serve`](crate::PubSub::serve) failed, or could not begin.
    #[cfg(feature = "actix-web-4")]
    #[error("the HTTP server failed")]
    Serve(#[source] std::io::Error),

    /// The runtime has stopped.
    #[error("the pubsub runtime has stopped")]
    Stopped,
}

impl Error {
    /// Whether the same call may succeed later, without any change to the program or the schema: the database was not
    /// reachable, did not answer in time, was out of resources, or aborted the statement because of others.
    ///
    /// A failed publish in a transaction of yours is repeated together with the transaction. After
    /// [`Timeout`](Self::Timeout) or a broken connection, the call may have taken effect: an event that is published again is
    /// then published twice, unless it has a deduplication key.
    ///
    /// # Examples
    /// ```
    /// # use pubsub::Error;
    /// # use std::time::Duration;
    /// let timeout = Error::Timeout { doing: "publish", after: Duration::from_secs(30) };
    /// assert!(timeout.is_retryable());
    /// assert!(!Error::SchemaMissing.is_retryable());
    /// ```
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Password(_) => true,
            Self::Connect { source, .. } => retryable::passes(refusal::sqlstate_of(&**source), &**source),
            Self::Database { sqlstate, source, .. } => retryable::passes(sqlstate.as_deref(), &**source),
            _ => false,
        }
    }

    /// Whether the database refuses the values of the statement, so that it would refuse the same ones again: they are invalid
    /// (22), break a constraint (23), or are too large (54).
    pub(crate) fn refuses_values(&self) -> bool {
        let Self::Database { sqlstate: Some(state), .. } = self else { return false };
        is_of_class(state, &["22", "23", "54"])
    }

    /// Whether the database has answered and refused the statement, so that it took no effect.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            // The end of the session may have come after the statement's.
            Self::Database { sqlstate, .. } => {
                sqlstate.as_deref().is_some_and(|state| !may_end_session(state))
            }
            Self::UndeclaredChannel { .. }
            | Self::UnknownSubscription { .. }
            | Self::InUse { .. }
            | Self::LeaseLost { .. }
            | Self::Moved { .. } => true,
            _ => false,
        }
    }

    /// A stable code of the error: PostgreSQL's SQLSTATE if the database refused the call, and a word otherwise.
    ///
    /// The SQLSTATEs that begin with `PB` are those of this library's SQL functions; `docs/sql-contract.md` lists them.
    ///
    /// # Examples
    /// ```
    /// use pubsub::Error;
    ///
    /// assert_eq!(Error::SchemaMissing.code(), "schema_missing");
    /// ```
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::InvalidUrl { .. } => "invalid_url",
            Self::Tls { .. } => "tls",
            Self::Password(_) => "password",
            Self::Pooler { .. } => "pooler",
            Self::Connect { source, .. } => refusal::sqlstate_of(&**source).unwrap_or("connect"),
            Self::Database { sqlstate, .. } => sqlstate.as_deref().unwrap_or("database"),
            Self::Timeout { .. } => "timeout",
            Self::UndeclaredChannel { .. } => refusal::UNDECLARED_CHANNEL,
            Self::UnknownSubscription { .. } => refusal::UNKNOWN_SUBSCRIPTION,
            Self::InUse { .. } => refusal::IN_USE,
            Self::LeaseLost { .. } => refusal::LEASE_LOST,
            Self::PayloadTooLarge { .. } => refusal::PAYLOAD_TOO_LARGE,
            Self::PayloadMismatch { .. } => refusal::PAYLOAD_MISMATCH,
            Self::InvalidPayload { source: PayloadError::Refused { sqlstate }, .. } => sqlstate,
            Self::InvalidPayload { .. } => "invalid_payload",
            Self::ServerTooOld { .. } => "server_too_old",
            Self::UnsupportedEncoding { .. } => "unsupported_encoding",
            Self::SchemaMissing => "schema_missing",
            Self::SchemaTooOld { .. } => "schema_too_old",
            Self::SchemaTooNew { .. } => "schema_too_new",
            Self::Moved { .. } => refusal::MOVED,
            Self::Migration(_) => "migration",
            Self::InvalidSubscriptionName { .. } => "invalid_subscription_name",
            Self::DuplicateSubscription { .. } => "duplicate_subscription",
            Self::InvalidSetting { .. } => "invalid_setting",
            Self::InvalidEventId { .. } => "invalid_event_id",
            Self::NoActixSystem => "no_actix_system",
            Self::Threads(_) => "threads",
            #[cfg(feature = "actix-web-4")]
            Self::Serve(_) => "serve",
            Self::Stopped => "stopped",
        }
    }
}

/// Refuses a connection target.
pub(crate) fn invalid_url(reason: impl Into<String>) -> Error {
    Error::InvalidUrl { reason: reason.into() }
}

/// Converts an error of `tokio_postgres` into ours. `doing` completes the sentence "the database failed to ..".
pub(crate) fn from_database(doing: &'static str, source: tokio_postgres::Error) -> Error {
    from_driver(doing, source.as_db_error().map(Refusal::from), source)
}

/// Converts an error of any driver into ours. Without a refusal, the server has not answered, or its driver hides
/// the code.
pub(crate) fn from_driver(
    doing: &'static str,
    refusal: Option<Refusal>,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> Error {
    let Some(Refusal { sqlstate, message, detail, hint }) = refusal else {
        return Error::Database { doing, sqlstate: None, source: source.into() };
    };
    match sqlstate.as_str() {
        refusal::UNDECLARED_CHANNEL => Error::UndeclaredChannel { message, hint: hint.unwrap_or_default() },
        refusal::UNKNOWN_SUBSCRIPTION => Error::UnknownSubscription { message },
        refusal::PAYLOAD_TOO_LARGE => Error::PayloadTooLarge { message },
        refusal::PAYLOAD_MISMATCH => Error::PayloadMismatch { message },
        refusal::IN_USE => Error::InUse { message, detail: detail.or(hint).unwrap_or_default() },
        refusal::LEASE_LOST => Error::LeaseLost { message, hint: hint.unwrap_or_default() },
        refusal::MOVED => Error::Moved { message, hint: hint.unwrap_or_default() },
        _ => Error::Database { doing, sqlstate: Some(sqlstate), source: source.into() },
    }
}
