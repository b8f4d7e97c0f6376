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

    /// Returns a future that completes once the arbiter has ended, whoever ends it.
    #[cfg(feature = "actix-web-4")]
    pub(crate) fn ended(&self) -> impl Future<Output = ()> + use<> {
        let (mut alive, ended) = tokio::sync::oneshot::channel::<()>();
        // The sender is dropped with the arbiter's tasks, or at once if the arbiter has ended. The task ends with its receiver.
        self.0.spawn(async move { alive.closed().await });
        async move { ended.await.unwrap_or_default() }
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
