//! L4: the only place that speaks actix.
//!
//! Actors never import each other: they share `message`, and hold `Recipient`s. The runtime wires them.

mod bench;
pub(crate) mod cell;
pub(crate) mod dispatcher;
pub(crate) mod heartbeat;
pub(crate) mod janitor;
pub(crate) mod listener;
pub(crate) mod message;
mod pump;
pub(crate) mod scheduler;
pub(crate) mod supervisor;
