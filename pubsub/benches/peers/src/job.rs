//! The task of a contender's process. It travels as JSON, because some of the processes run Node or Python.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The task of one process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    /// The database.
    pub(crate) url: String,
    pub(crate) role: Role,
    /// The consumers, each of which handles every event: 1, or 3 for the fan-out.
    pub(crate) consumers: usize,
    /// The connections of a publisher.
    pub(crate) connections: usize,
    /// The events that a publisher publishes, or that a worker waits for. They are numbered from 0.
    pub(crate) events: u64,
    /// The time that a publisher of role [`Role::Publish`] takes.
    pub(crate) seconds: f64,
    /// The events per second of a paced publisher. A worker is told too, because some peers have other settings for a trickle
    /// than for a backlog.
    pub(crate) rate: Option<u32>,
    pub(crate) handler: Handler,
    /// The deliveries that a worker handles at once, if the workload says so.
    pub(crate) concurrency: Option<usize>,
    /// The file for the moments of commits or of first attempts: for each event its nanoseconds of the monotonic clock, 8 bytes,
    /// little-endian; 0 if there is none.
    pub(crate) times: Option<PathBuf>,
}

impl Job {
    /// A job of a worker, or of a publisher over one connection.
    pub(crate) fn new(url: &str, role: Role, events: u64) -> Self {
        Self {
            url: url.to_owned(),
            role,
            consumers: 1,
            connections: 1,
            events,
            seconds: 0.0,
            rate: None,
            handler: Handler::Nothing,
            concurrency: None,
            times: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Role {
    /// Installs the schema and declares the consumers.
    Install,
    /// Publishes single events, each in a transaction of its own, until the time is over.
    Publish,
    /// Publishes all events, [`BULK`] to a call.
    Bulk,
    /// Publishes single events at a rate.
    Pace,
    /// Handles events until it is told to stop.
    Work,
}

/// The events of one call of a bulk publisher.
pub(crate) const BULK: usize = 1_000;

/// The connections of a worker's handlers to the tables that they update.
pub(crate) const HANDLER_CONNECTIONS: usize = 16;

/// The time that [`Handler::Sleep`] sleeps.
pub(crate) const NAP: std::time::Duration = std::time::Duration::from_millis(1);

/// The work of an event's handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Handler {
    Nothing,
    /// Updates the event's row of `touched`, in a transaction of its own.
    Update,
    /// Does the same in a transaction that settles the event too.
    UpdateAndSettle,
    /// Sleeps for [`NAP`].
    Sleep,
}
