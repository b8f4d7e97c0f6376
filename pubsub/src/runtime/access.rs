//! The database connections of a runtime, until it stops.

use crate::error::Error;
use crate::store::Store;
use std::sync::{Arc, OnceLock};

/// Database connections that end with the runtime they belong to. Clones share the connections and their end.
#[derive(Debug, Clone)]
pub(super) struct Access {
    store: Store,
    /// Whether every delivery that had started was finished. Set once the runtime has stopped.
    finished: Arc<OnceLock<bool>>,
}

impl Access {
    pub(super) fn new(store: Store) -> Self {
        Self { store, finished: Arc::default() }
    }

    /// Returns the connections.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the runtime has stopped, because its process is not registered any more.
    pub(super) fn store(&self) -> Result<&Store, Error> {
        match self.finished.get() {
            Some(_) => Err(Error::Stopped),
            None => Ok(&self.store),
        }
    }

    /// Returns whether the runtime finished every delivery that had started; `None` while it runs.
    pub(super) fn finished(&self) -> Option<bool> {
        self.finished.get().copied()
    }

    /// Ends the access. Returns the result of the first call.
    pub(super) fn end(&self, finished: bool) -> bool {
        *self.finished.get_or_init(|| finished)
    }
}
