//! L5: puts the parts together, and is the handle to the whole.

mod builder;
mod options;
mod pubsub;
pub mod routes;
mod setup;
mod start;

pub use builder::Builder;
pub use options::SubscribeOptions;
pub use pubsub::PubSub;
