//! What can be seen of a running process from inside it. Spans and events go through `tracing`; this is the rest.

use crate::model::outcome::Outcome;
use crate::panics::Panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// What one subscription's handler has done in this process since it started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStatus {
    /// The channel.
    pub channel: String,
    /// The subscription.
    pub subscription: String,
    /// Deliveries that were handled.
    pub handled: u64,
    /// Attempts that failed or panicked.
    pub failed: u64,
    /// Deliveries given up: out of attempts, rejected, or not decodable.
    pub dead: u64,
    /// Times the handler was started afresh, after a panic or because it stopped itself.
    pub restarts: u64,
    /// The last panic's message and place.
    pub last_panic: Option<String>,
    /// Whether it runs.
    pub state: HandlerState,
}

/// Whether a handler runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerState {
    /// It takes deliveries.
    #[default]
    Running,
    /// It died too often: this process gives it nothing until it has waited. Other processes go on.
    Quarantined,
    /// It has not answered for a while: it probably blocks its thread.
    Unresponsive,
}

/// The figures behind a [`HandlerStatus`], counted where they happen.
#[derive(Debug, Default)]
pub(crate) struct Gauges {
    handled: AtomicU64,
    failed: AtomicU64,
    dead: AtomicU64,
    restarts: AtomicU64,
    last_panic: Mutex<Option<String>>,
    state: Mutex<HandlerState>,
}

impl Gauges {
    pub(crate) fn answered(&self, outcome: &Outcome) {
        match outcome {
            Outcome::Done => self.handled.fetch_add(1, Ordering::Relaxed),
            Outcome::Failed { .. } | Outcome::Panicked(_) => self.failed.fetch_add(1, Ordering::Relaxed),
            Outcome::Snoozed(_)
            | Outcome::Rejected { .. }
            | Outcome::Undecodable { .. }
            | Outcome::TooNew { .. }
            | Outcome::Returned => 0,
        };
    }

    pub(crate) fn died(&self) {
        self.dead.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handler_died(&self, panic: Option<&Panic>) {
        self.restarts.fetch_add(1, Ordering::Relaxed);
        if let Some(panic) = panic {
            *self.last_panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic.to_string());
        }
    }

    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    pub(crate) fn is(&self, state: HandlerState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn status(&self, channel: &str, subscription: &str) -> HandlerStatus {
        HandlerStatus {
            channel: channel.to_owned(),
            subscription: subscription.to_owned(),
            handled: self.handled.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            dead: self.dead.load(Ordering::Relaxed),
            restarts: self.restarts.load(Ordering::Relaxed),
            last_panic: self.last_panic.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            state: *self.state.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}
