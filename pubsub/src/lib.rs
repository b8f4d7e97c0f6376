//! Durable, typed publish/subscribe for actix applications, on the PostgreSQL they already run.
//!
//! An application publishes an event **in the transaction that made it true**. Handler actors act on it at least once, in this
//! process, on other machines or in other languages. A handler that fails is retried with exponential backoff, and a handler
//! that panics is restarted, until the event is done or has become a dead letter.
//!
//! Where to begin:
//! - [`#[derive(Channel)]`](derive@Channel) binds a payload type to its channel.
//! - [`migrate`] installs the schema, [`PubSub::builder`] takes the handler of each channel, and [`Builder::start`] runs them.
//! - [`routes!`] names the handlers of each channel in one table; [`Publisher`](routing::Publisher) publishes on its channels, and on no others.
//! - [`publish`] and [`publish_all`] publish in a transaction of yours, or through a running [`PubSub`] in one of its own.
//! - A handler is an actix actor with `impl Handler<Delivery<C>>`. It receives a [`Delivery`] and answers with [`Handled`]:
//!   `Ok(())`, or a [`Failure`] that decides when the delivery is tried again, if at all.
//! - A payload changes through a new version: `upcast_from` in [`#[derive(Channel)]`](derive@Channel), [`OlderVersion`](trait@OlderVersion), [`Shape`](trait@Shape).
//! - [`Target`] names the database, where a URL does not suffice, and connects to tables of your own.
//! - [`PubSub::drain`] stops the runtime. It finishes the deliveries that have started, and returns the others.
//!
//! The README has short programs for most of this, and `examples/quickstart` is a whole web application.
//!
//! # Features
//! - `tls`, on by default: encrypted connections, with rustls. See [`Target`].
//! - `schema`: JSON Schema and TypeScript types of the channels whose payloads derive `schemars::JsonSchema`, and `strict`
//!   channels. See [`Builder::export`].
//! - `cli`: the program `pubsub`, with `pubsub schema export`, `pubsub schema lock` and `pubsub schema check`.
//! - `sqlx-0_9`, `sea-orm-2`, `diesel-async-0_9`: publishing in the transactions of these drivers. See [`Executor`].
//! - `actix-web-4`: `PubSub` and `Publisher` as extractors, [`PubSub::serve`] and [`web::health`], for actix-web.
//! - `testing`: `pubsub::testing`, for tests and examples: handlers that are called without a database, a harness for a whole
//!   application, `assert_published!`, a throwaway PostgreSQL server and a database per test.

mod actors;
mod config;
mod contract;
mod error;
mod model;
mod observe;
mod panics;
mod policy;
mod runtime;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use contract::older_version::OlderVersion;
pub use contract::shape::Shape;
pub use error::Error;
pub use model::backoff::Backoff;
pub use model::channel::Channel;
pub use model::delivery::Delivery;
pub use model::event::{EventId, LeaseToken};
pub use model::failure::{Failure, Handled};
pub use model::published::Published;
pub use model::retention::Retention;
pub use pubsub_derive::{Channel, OlderVersion, Shape};
pub use runtime::{Builder, PubSub, SubscribeOptions, Subscription};
pub use store::executor::Executor;
pub use store::migrate::migrate;
pub use store::prepared::prepared;
pub use store::publish::{PublishOptions, publish, publish_all, publish_with};
pub use store::target::Target;

/// Rare operations on a database, for its operator.
pub mod admin {
    pub use crate::model::dropped_channel::DroppedChannel;
    pub use crate::store::drop_channel::{drop_channel, force_drop_channel};
    pub use crate::store::restore::rebase;
}

/// Routes from channels to handlers, as [`routes!`](crate::routes) makes them.
pub mod routing {
    pub use crate::contract::routed::{RoutedIn, Unrouted};
    pub use crate::runtime::routes::handlers::Handlers;
    pub use crate::runtime::routes::publisher::Publisher;
}

/// Publishing, and settling deliveries, through a driver that is not an [`Executor`].
pub mod prepared {
    pub use crate::store::prepared::{Prepared, Value, prepared_all, prepared_settle_in, prepared_with};
}

/// Payloads, and the schemas that describe them.
pub mod schema {
    #[cfg(feature = "schema")]
    pub use crate::contract::schema::SchemaFormat;
    pub use crate::error::PayloadError;
    pub use crate::model::channel::Payload;
    #[cfg(feature = "schema")]
    pub use crate::store::schema::export;
}

/// State of the handlers of a running process.
pub mod status {
    pub use crate::observe::{HandlerState, HandlerStatus};
}

/// Values that a subscription takes and returns: dead letters and positions in the log.
pub mod subscription {
    pub use crate::model::dead_letter::{DeadLetter, DeadLetterFilter, Reason};
    pub use crate::model::seek::{Seek, SeekReport};
    pub use crate::model::unsubscribed::Unsubscribed;
}

/// The process's health in an actix-web application. See also [`PubSub::serve`], and the extractors [`PubSub`] and
/// [`Publisher`](routing::Publisher).
#[cfg(feature = "actix-web-4")]
pub mod web {
    pub use crate::runtime::web::health::{Health, health};
}

/// The items that the output of the macros uses. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::contract::{channel_name, key, lock_file, older_version, redact, routed, schema, shape};
    // Also under its own name. Otherwise rustc takes `OlderVersion` for a sealed trait, and its errors call it one.
    pub use crate::contract::older_version::Readable;
    pub use crate::runtime::routes;
    pub use pubsub_derive::routes;
    pub use serde_json;
}

/// The README's programs, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
