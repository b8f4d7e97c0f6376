//! L5: puts the parts together, and is the handle to the whole.

mod builder;
mod handle;
pub mod handlers;
mod publisher;
pub mod routes;
mod start;
mod subscription;

pub use builder::Builder;
pub use handle::PubSub;
pub use handlers::Handlers;
pub use publisher::Publisher;
pub use subscription::SubscribeOptions;
