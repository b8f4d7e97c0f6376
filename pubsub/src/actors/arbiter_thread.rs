//! A thread of the runtime with an arbiter on it.

use crate::error::Error;
use actix::Arbiter;
use std::ops::Deref;

/// An arbiter that is stopped when it is dropped.
pub(crate) struct ArbiterThread(Arbiter);

impl ArbiterThread {
    /// Starts a thread with an arbiter on it. The current thread must have an actix system.
    pub(crate) fn start() -> Result<Self, Error> {
        Arbiter::try_new().map(Self).map_err(Error::Threads)
    }
}

impl Deref for ArbiterThread {
    type Target = Arbiter;

    fn deref(&self) -> &Arbiter {
        &self.0
    }
}

impl Drop for ArbiterThread {
    fn drop(&mut self) {
        // The result is false if the arbiter has stopped already, which is fine.
        self.0.stop();
    }
}
