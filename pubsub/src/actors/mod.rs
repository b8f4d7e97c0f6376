//! L4: the only place that speaks actix.
//!
//! Actors never import each other: they share `message`, `line` and `thread`, and hold `Recipient`s. The runtime wires them.

pub(crate) mod cell;
pub(crate) mod dispatcher;
pub(crate) mod heartbeat;
pub(crate) mod janitor;
pub(crate) mod line;
pub(crate) mod listener;
pub(crate) mod message;
pub(crate) mod scheduler;
pub(crate) mod supervisor;
pub(crate) mod thread;
