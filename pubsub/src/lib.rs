//! Durable, typed publish/subscribe for actix applications on the PostgreSQL they already run.

mod actors;
mod config;
mod error;
mod model;
mod observe;
mod panics;
mod policy;
mod runtime;
mod store;
#[cfg(feature = "testing")]
pub mod testing;

pub use error::Error;
pub use model::channel::{Channel, Payload};
pub use model::delivery::Delivery;
pub use model::event::{EventId, Headers, Token};
pub use model::failure::{Failure, Handled};
pub use model::payload::PayloadError;
pub use observe::HandlerStatus;
pub use policy::backoff::Backoff;
pub use pubsub_derive::Channel;
pub use runtime::{Builder, PubSub, SubscribeOptions};
pub use store::migrate::migrate;
pub use store::publish::{PublishOptions, Session, publish, publish_all, publish_with};

/// What `#[derive(Channel)]` writes code against. Not part of the public interface.
#[doc(hidden)]
pub mod __private {
    pub use std::time::Duration;
}
