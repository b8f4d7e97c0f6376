//! The figures of a running process. Its spans and events go through `tracing`.

use crate::panics::Panic;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The figures of one subscription's handler in this process, since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerStatus {
    /// The channel.
    pub channel: String,
    /// The subscription.
    pub subscription: String,
    /// Deliveries handled.
    pub handled: u64,
    /// Attempts that failed or panicked.
    pub failed: u64,
    /// Deliveries given up: out of attempts, rejected, or not decodable.
    pub dead: u64,
    /// Restarts of the handler: after a panic, or because it stopped itself.
    pub restarts: u64,
    /// Message and place of the handler's last panic.
    pub last_panic: Option<String>,
    /// Whether the handler runs.
    pub state: HandlerState,
}

#[cfg(any(feature = "actix-web-4", feature = "testing"))]
impl HandlerStatus {
    /// Whether it is the handler of this subscription.
    pub(crate) fn is_of(&self, channel: &str, subscription: &str) -> bool {
        self.channel == channel && self.subscription == subscription
    }
}

/// Whether a handler runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerState {
    /// The handler takes deliveries.
    #[default]
    Running,
    /// The handler died too often. This process gives it no deliveries for a while; other processes go on.
    Quarantined,
    /// The handler has not responded for a while. It probably blocks its thread.
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
    pub(crate) fn delivery_handled(&self) {
        self.handled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn delivery_failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn delivery_given_up(&self) {
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

    pub(crate) fn set_state(&self, state: HandlerState) {
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

/// The links of this process to the database, noted by the actors that hold them.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    beat_at: Mutex<Option<Instant>>,
    is_listening: AtomicBool,
}

impl Vitals {
    /// Notes that a beat was recorded now.
    pub(crate) fn has_beaten(&self) {
        *self.beat_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    pub(crate) fn set_listening(&self, is_listening: bool) {
        self.is_listening.store(is_listening, Ordering::Relaxed);
    }
}

#[cfg(feature = "actix-web-4")]
impl Vitals {
    /// Returns when the last beat was recorded.
    pub(crate) fn beat_at(&self) -> Option<Instant> {
        *self.beat_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }
}
