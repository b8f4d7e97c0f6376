//! L4: the only place that speaks actix.
//!
//! Actors never import each other: they share `message`, `line` and `thread`, and hold `Recipient`s. The runtime wires them.

pub(crate) mod arbiter_thread;
pub(crate) mod dispatcher;
pub(crate) mod handler_host;
pub(crate) mod handler_link;
pub(crate) mod heartbeat;
pub(crate) mod janitor;
pub(crate) mod listener;
pub(crate) mod message;
pub(crate) mod scheduler;
pub(crate) mod supervisor;
