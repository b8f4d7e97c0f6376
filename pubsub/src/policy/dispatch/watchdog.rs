//! Decides when a handler counts as unresponsive or as blocked.

use super::step::Step;
use std::time::{Duration, Instant};

/// The time beyond its timeout for which a delivery may be unanswered before its thread counts as blocked. If the thread is not
/// blocked, the host answers on time.
pub(super) const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// The silence of a handler without a timeout after which it is reported. It is only reported, because without a timeout a
/// handler may block indefinitely.
pub(super) const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(10);

/// Watches whether a handler's thread is blocked.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    /// The time at which the host was asked to respond, if it has not responded yet.
    asked_at: Option<Instant>,
    /// Whether the handler was reported as unresponsive.
    reported: bool,
}

impl Watchdog {
    /// Notes that the handler's host was asked to respond.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// Whether the handler was reported as unresponsive, and has not responded since. Nothing is claimed for it then.
    pub(super) fn is_unresponsive(&self) -> bool {
        self.reported
    }

    /// Notes that the handler's host has responded. Returns whether the handler was reported as unresponsive.
    pub(super) fn responded(&mut self) -> bool {
        std::mem::take(self).reported
    }

    /// Checks on a handler that holds deliveries, and abandons it if it stays silent.
    pub(super) fn check(&mut self, at_work: bool, timeout: Option<Duration>, now: Instant) -> Option<Step> {
        let Some(asked_at) = self.asked_at else { return at_work.then_some(Step::Ping) };
        let silent = now.saturating_duration_since(asked_at);
        match timeout {
            Some(timeout) if silent > timeout + BLOCKED_AFTER => Some(Step::ReplaceHandler { silent }),
            None if silent > UNRESPONSIVE_AFTER && !self.reported => {
                self.reported = true;
                Some(Step::HandlerUnresponsive { silent })
            }
            _ => None,
        }
    }
}
