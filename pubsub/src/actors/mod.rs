//! L4: the actors of the runtime. Only this layer and the runtime use actix.
//!
//! Actors do not import each other. They share `message`, `handler_link`, `arbiter_thread` and `fault_log`, and hold `Recipient`s. The
//! runtime connects them.

pub(crate) mod arbiter_thread;
pub(crate) mod dispatcher;
pub(crate) mod fault_log;
pub(crate) mod handler_host;
pub(crate) mod handler_link;
pub(crate) mod heartbeat;
pub(crate) mod janitor;
pub(crate) mod listener;
pub(crate) mod message;
pub(crate) mod scheduler;
pub(crate) mod supervisor;
