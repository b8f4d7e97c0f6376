//! The timings and limits of a runtime, and their defaults.

use std::time::Duration;

/// Timings and limits of one runtime.
#[derive(Debug, Clone)]
pub(crate) struct Config {
    /// Time between two polls of a sleeping subscription, which cover a lost notification.
    pub(crate) poll_interval: Duration,
    /// Time between two heartbeats of the process.
    pub(crate) heartbeat_interval: Duration,
    /// Time without a heartbeat after which other processes take over a process's leases.
    pub(crate) silence_limit: Duration,
    /// The age from which unread events are reported.
    pub(crate) report_unread_after: Duration,
    /// The age from which open transactions are reported.
    pub(crate) report_transactions_after: Duration,
    /// Connections for claiming, settling and publishing. The heartbeat and the listener have one more each.
    pub(crate) connections: usize,
    /// Longest wait for an answer of the database.
    pub(crate) deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            poll_interval: Duration::from_secs(1),
            heartbeat_interval: Duration::from_secs(1),
            silence_limit: Duration::from_secs(6),
            report_unread_after: Duration::from_secs(3_600),
            report_transactions_after: Duration::from_secs(300),
            connections: 4,
            deadline: Duration::from_secs(10),
        }
    }
}

/// Lanes of an ordered subscription, unless set.
pub(crate) const DEFAULT_LANES: u32 = 8;

/// Most lanes of a subscription. The database has the same limit.
pub(crate) const MAX_LANES: u32 = 64;

/// Deliveries that a handler works on at once, unless set.
pub(crate) const DEFAULT_CONCURRENCY: usize = 16;
