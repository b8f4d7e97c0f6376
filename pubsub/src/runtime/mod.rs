//! L5: the builder, which connects the parts, and the handle to a running runtime.

mod access;
mod builder;
mod check;
mod options;
mod pubsub;
pub mod routes;
mod setup;
mod start;
mod subscription;

pub use builder::Builder;
pub use options::SubscribeOptions;
pub use pubsub::PubSub;
pub use subscription::Subscription;
