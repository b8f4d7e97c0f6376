//! L5: the builder, which connects the parts, and the handle to a running runtime.

mod access;
mod builder;
mod check;
#[cfg(feature = "actix-web-4")]
mod checkup;
#[cfg(feature = "actix-web-4")]
mod inquiry;
mod options;
mod pubsub;
pub mod routes;
mod setup;
mod start;
mod subscription;
#[cfg(feature = "actix-web-4")]
pub(crate) mod web;

pub use builder::Builder;
pub use options::SubscribeOptions;
pub use pubsub::PubSub;
pub use subscription::Subscription;
