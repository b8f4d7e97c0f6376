//! Decides when a handler counts as unresponsive, and when as blocked.

use super::step::Step;
use std::time::{Duration, Instant};

/// How long past its timeout a delivery may go unanswered before its thread counts as blocked. The host answers on time, if
/// anything runs on its thread at all.
pub(super) const BLOCKED_AFTER: Duration = Duration::from_secs(1);

/// How long a handler without a timeout may be silent before that is reported. Nothing else is done: without a timeout, a
/// handler may block indefinitely.
pub(super) const UNRESPONSIVE_AFTER: Duration = Duration::from_secs(10);

/// Watches whether a handler's thread still runs anything.
#[derive(Debug, Default)]
pub(super) struct Watchdog {
    /// When the host was asked to respond, if it has not responded yet.
    asked_at: Option<Instant>,
    /// The handler was reported as unresponsive.
    reported: bool,
}

impl Watchdog {
    /// The handler's host was asked to respond.
    pub(super) fn asked(&mut self, now: Instant) {
        self.asked_at = Some(now);
    }

    /// The handler's host has responded. Returns whether the handler was reported as unresponsive.
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
