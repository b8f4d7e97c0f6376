//! L5: puts the parts together, and is the handle to the whole.

mod builder;
mod handle;
pub(crate) mod handlers;
mod publisher;
pub(crate) mod routes;
mod start;
mod subscription;

pub use builder::Builder;
pub use handle::PubSub;
pub use handlers::Handlers;
pub use publisher::Publisher;
pub use subscription::SubscribeOptions;
