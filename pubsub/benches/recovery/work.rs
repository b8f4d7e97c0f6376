//! The events, and the work that they are for the handlers.

use pubsub::Channel;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest wait for anything that must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The event that is handled.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("bench")]
pub(crate) struct Order {
    pub(crate) order: u64,
}

/// The work of the handlers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Events per second.
    pub(crate) rate: u64,
    /// The handler's time for one event in [`SLOW_ONES`]. The others take [`TYPICAL`].
    pub(crate) slow: Duration,
}

/// The handler's time for most events.
pub(crate) const TYPICAL: Duration = Duration::from_millis(20);
/// One event in so many is slow.
pub(crate) const SLOW_ONES: u64 = 20;

/// Keeps three quarters of the survivor's slots busy once it is alone.
pub(crate) const EVEN: Work = Work { rate: 600, slow: TYPICAL };
/// More than the survivor can handle alone: there is a backlog, and both processes hold as much as they may.
pub(crate) const BUSY: Work = Work { rate: 1_000, slow: TYPICAL };
/// Slow events keep their leases open.
pub(crate) const UNEVEN: Work = Work { rate: 250, slow: Duration::from_millis(400) };
