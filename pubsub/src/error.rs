//! What can go wrong, for the callers of this crate.

use crate::model::payload::PayloadError;
use std::time::Duration;
use tokio_postgres::error::DbError;

/// Why a call failed. `Display` names the thing; the cause is in `source()`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database URL cannot be read. It is not repeated here: it may hold a password.
    #[error("the database URL cannot be read")]
    InvalidUrl(#[source] tokio_postgres::Error),

    /// No connection could be made.
    #[error("cannot connect to the database")]
    Connect(#[source] tokio_postgres::Error),

    /// The database refused a statement, or the connection broke while it ran. After a broken connection it is unknown
    /// whether the statement took effect.
    #[error("the database failed to {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the driver says.
        #[source]
        source: tokio_postgres::Error,
    },

    /// No answer in time. It is unknown whether the statement took effect.
    #[error("no answer from the database within {after:?} to {doing}")]
    Timeout {
        /// What was being done.
        doing: &'static str,
        /// The deadline that passed.
        after: Duration,
    },

    /// Nobody has declared the channel in this database.
    #[error("{message}. {hint}")]
    UndeclaredChannel {
        /// The sentence that names the channel.
        message: String,
        /// The nearest declared channel, and how to declare one.
        hint: String,
    },

    /// The payload is over the channel's limit.
    #[error("{message}")]
    PayloadTooLarge {
        /// The sentence that names the channel, the size and the limit.
        message: String,
    },

    /// The channel is strict, and the payload does not have its declared shape.
    #[error("{message}")]
    PayloadMismatch {
        /// The sentence that names the channel, the field, what is expected there, and what is there.
        message: String,
    },

    /// The payload cannot be stored.
    #[error("the payload cannot be published on channel `{channel}`")]
    InvalidPayload {
        /// The channel.
        channel: &'static str,
        /// Why.
        #[source]
        source: PayloadError,
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
        /// The version needed.
        needed: i32,
    },

    /// The database's schema is newer than this library knows.
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

    /// The database was moved to another cluster, by a restore from a dump for instance, and reading on might skip events.
    /// [`rebase`](crate::admin::rebase) sets it right.
    #[error("{message}. {hint}")]
    Moved {
        /// What was seen.
        message: String,
        /// What to run.
        hint: String,
    },

    /// A migration failed and was rolled back.
    #[error("the pubsub schema cannot be migrated")]
    Migration(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// A subscription's name cannot be used.
    #[error(
        "`{name}` cannot be the name of a subscription: use 1 to 63 characters of a-z 0-9 . _ -, starting with a letter or a digit"
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

    /// A setting has a value that it cannot have. [`Builder::start`](crate::Builder::start) checks all settings before it does
    /// anything else.
    #[error("{place}: `{setting}` must be {allowed}, not {value}")]
    InvalidSetting {
        /// Where the setting was made: the runtime, a channel, or a subscription.
        place: String,
        /// The setting, by the name of the method or the attribute that sets it.
        setting: &'static str,
        /// The value.
        value: String,
        /// The values that it may have. Completes "must be ..".
        allowed: String,
    },

    /// `start` was called outside an actix system.
    #[error("no actix system runs on this thread: start inside `#[actix::main]` or `#[actix_web::main]`")]
    NoActixSystem,

    /// The runtime's threads could not be started.
    #[error("the threads of the pubsub runtime cannot be started")]
    Threads(#[source] std::io::Error),

    /// The runtime has stopped.
    #[error("the pubsub runtime has stopped")]
    Stopped,
}

/// Sorts the driver's errors into ours. `doing` completes "the database failed to …".
pub(crate) fn from_database(doing: &'static str, source: tokio_postgres::Error) -> Error {
    let Some(db) = source.as_db_error() else {
        return Error::Database { doing, source };
    };
    let message = db.message().to_owned();
    match db.code().code() {
        "PB001" => Error::UndeclaredChannel { message, hint: db.hint().unwrap_or_default().to_owned() },
        "PB002" => Error::PayloadTooLarge { message },
        "PB008" => Error::PayloadMismatch { message },
        "PB005" => Error::Moved { message, hint: db.hint().unwrap_or_default().to_owned() },
        _ => Error::Database { doing, source },
    }
}

/// An error and its causes on one line, for logs and for the error text of a delivery.
///
/// Of an error of PostgreSQL only the message and the SQLSTATE: its DETAIL quotes the values of rows.
pub(crate) fn error_chain(error: &(dyn std::error::Error + 'static)) -> String {
    let say = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref::<DbError>() {
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => error.to_string(),
    };
    let links: Vec<String> = std::iter::successors(Some(error), |error| error.source()).map(say).collect();
    links.join(": ")
}
