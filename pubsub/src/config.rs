//! How a runtime behaves. Defaults live here and nowhere else.

use std::time::Duration;

/// Timings and limits of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// How often a sleeping subscription looks by itself, should the bell have been lost.
    pub(crate) poll_interval: Duration,
    /// How often the process tells the database that it lives.
    pub(crate) heartbeat: Duration,
    /// How long a process may be silent before its leases become orphans.
    pub(crate) silence_limit: Duration,
    /// From which age on events that lie unread are reported.
    pub(crate) unread_after: Duration,
    /// From which age on transactions are reported.
    pub(crate) transaction_after: Duration,
    /// Connections for claiming, settling and publishing. One more beats, one more listens.
    pub(crate) connections: usize,
    /// Longest wait for any answer of the database.
    pub(crate) deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(1),
            heartbeat: Duration::from_secs(1),
            silence_limit: Duration::from_secs(6),
            unread_after: Duration::from_secs(3_600),
            transaction_after: Duration::from_secs(300),
            connections: 4,
            deadline: Duration::from_secs(10),
        }
    }
}

/// Lanes of an ordered subscription, unless it says otherwise.
pub(crate) const DEFAULT_LANES: u32 = 8;

/// Most lanes of a subscription, as the database checks too.
pub(crate) const MAX_LANES: u32 = 64;

/// Deliveries that a handler works on at once, unless its subscription says otherwise.
pub(crate) const DEFAULT_CONCURRENCY: usize = 16;
