//! L5: puts the parts together, and is the handle to the whole.

mod builder;
mod handle;
mod start;
mod subscription;

pub use builder::Builder;
pub use handle::PubSub;
pub use subscription::SubscribeOptions;
