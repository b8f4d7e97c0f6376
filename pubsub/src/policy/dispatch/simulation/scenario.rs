//! The parameters of a run.

use crate::model::backoff::Backoff;
use crate::model::settings::{SubscriptionSettings, TimeLimit};
use std::time::Duration;

/// The parameters of a run.
#[derive(Debug, Clone, Default)]
pub(in crate::policy::dispatch) struct Scenario {
    pub(in crate::policy::dispatch) seed: u64,
    pub(in crate::policy::dispatch) concurrency: usize,
    pub(in crate::policy::dispatch) ordered: bool,
    /// The longest time that the handler takes, in microseconds.
    pub(in crate::policy::dispatch) handler_micros: u64,
    /// The number of statements in a thousand that fail, before or after they take effect.
    pub(in crate::policy::dispatch) failures: u64,
    /// The publishes: the start and the duration of each, in milliseconds, and its events.
    pub(in crate::policy::dispatch) publishes: Vec<(u64, u64, usize)>,
    /// Whether the bells of all publishes are lost.
    pub(in crate::policy::dispatch) silent: bool,
    /// The suspects in the mailbox, by their dead process: the time from which they are due, in milliseconds, their crashes, and
    /// their number.
    pub(in crate::policy::dispatch) suspects: Vec<(u64, u32, usize)>,
    /// The time of the drain, in milliseconds.
    pub(in crate::policy::dispatch) drain_at: Option<u64>,
    /// The start and the duration of the handler's quarantine, in milliseconds.
    pub(in crate::policy::dispatch) quarantine: Option<(u64, u64)>,
    /// Whether the subscription is suspended: the database refuses its claims from the log.
    pub(in crate::policy::dispatch) suspended: bool,
}

pub(in crate::policy::dispatch) fn settings(scenario: &Scenario) -> SubscriptionSettings {
    SubscriptionSettings {
        channel: "test",
        name: "test".into(),
        version: 1,
        max_attempts: 1_000,
        max_panics: 3,
        max_crashes: 3,
        timeout: None,
        backoff: Backoff::exponential(Duration::from_millis(10)).max(Duration::from_millis(200)).jitter(0.5),
        concurrency: scenario.concurrency,
        lanes: scenario.ordered.then_some(8),
        from_beginning: false,
        unread_limit: TimeLimit::Unset,
        dead_letter_retention: None,
    }
}
