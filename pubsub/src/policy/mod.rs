//! L2: the decisions.
//!
//! This layer is pure: no async, no clock, no I/O. `now` and random numbers are arguments, so that every decision can be
//! property-tested and replayed.

pub(crate) mod absence;
pub(crate) mod claim_limit;
pub(crate) mod dispatch;
pub(crate) mod disposition;
pub(crate) mod faults;
pub(crate) mod leases;
pub(crate) mod log_poll;
pub(crate) mod order;
pub(crate) mod prefetch;
pub(crate) mod ready_queue;
pub(crate) mod reminder;
pub(crate) mod restart;
pub(crate) mod support;
pub(crate) mod xids;
