//! Durable, typed publish/subscribe for actix applications, on the PostgreSQL they already run.
//!
//! An application publishes an event **in the transaction that made it true**; handler actors, in this process, on other
//! machines or in other languages, act on it at least once: retried with exponential backoff, restarted when they panic,
//! until it is done or a dead letter.
//!
//! Where to begin:
//! - [`#[derive(Channel)]`](derive@Channel) binds a payload type to its channel.
//! - [`migrate`] installs the schema, [`PubSub::builder`] says which handler gets which channel, [`Builder::start`] runs it.
//! - [`routes!`] names the handlers of each channel in one table; [`Publisher`] publishes on its channels, and on no others.
//! - [`publish`] and [`publish_all`] publish in a transaction of yours, or through a running [`PubSub`] in one of its own.
//! - A handler is an actix actor with `impl Handler<Delivery<C>>`. It is given a [`Delivery`] and answers [`Handled`]: done,
//!   or a [`Failure`] that says what should happen instead.
//! - A payload changes by a new version: `upcast_from` in [`#[derive(Channel)]`](derive@Channel), [`OlderVersion`](trait@OlderVersion), [`Shape`](trait@Shape).
//! - [`PubSub::drain`] ends it: finishes what has begun, gives back the rest.
//!
//! The README shows it in one program; `examples/quickstart` is a whole web application.
//!
//! # Features
//! - `schema`: JSON Schema and TypeScript types of the channels whose payloads derive `schemars::JsonSchema`, and `strict`
//!   channels. See [`Builder::export`].
//! - `cli`: the program `pubsub`, with `pubsub schema export`, `pubsub schema lock` and `pubsub schema check`.
//! - `testing`: `pubsub::testing`, a throwaway PostgreSQL server and a database per test. For tests and examples.

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
pub use contract::routed::{RoutedIn, Unrouted};
#[cfg(feature = "schema")]
pub use contract::schema::SchemaFormat;
pub use contract::shape::Shape;
pub use error::Error;
pub use model::backoff::Backoff;
pub use model::channel::{Channel, Payload};
pub use model::dead_letter::{DeadLetter, Reason};
pub use model::delivery::Delivery;
pub use model::event::{EventId, Headers, LeaseToken};
pub use model::failure::{Failure, Handled};
pub use model::payload::PayloadError;
pub use model::seek::{Seek, SeekReport};
pub use observe::{HandlerState, HandlerStatus};
pub use pubsub_derive::{Channel, OlderVersion, Shape};
pub use runtime::{Builder, Handlers, PubSub, Publisher, SubscribeOptions};
pub use store::home::rebase;
pub use store::migrate::migrate;
pub use store::publish::{Executor, PublishOptions, publish, publish_all, publish_with};
#[cfg(feature = "schema")]
pub use store::schema::export_schemas;

/// What `#[derive(Channel)]` and `routes!` write code against. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::contract::{channel_name, key, lock_file, older_version, redact, routed, schema, shape};
    // Also by itself: rustc calls `OlderVersion` a sealed trait otherwise, and adds notes about that to its errors.
    pub use crate::contract::older_version::Readable;
    pub use crate::runtime::{handlers, routes};
    pub use pubsub_derive::routes;
    pub use serde_json::Value;
    pub use std::borrow::Cow;
    pub use std::fmt;
    pub use std::time::Duration;
}

/// The README's program, compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
