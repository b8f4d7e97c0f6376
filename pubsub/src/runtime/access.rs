//! The database connections of a runtime, until it stops.

use crate::error::Error;
use crate::store::Store;
use std::sync::{Arc, OnceLock};

/// Database connections that end with the runtime they belong to. Clones share the connections and their end.
#[derive(Debug, Clone)]
pub(super) struct Access {
    store: Store,
    /// Set once the runtime has stopped: whether every delivery that had begun was finished.
    finished: Arc<OnceLock<bool>>,
}

impl Access {
    pub(super) fn new(store: Store) -> Self {
        Self { store, finished: Arc::default() }
    }

    /// The connections.
    ///
    /// # Errors
    /// [`Error::Stopped`] once the runtime has stopped: its process has signed off from the database.
    pub(super) fn store(&self) -> Result<&Store, Error> {
        match self.finished.get() {
            Some(_) => Err(Error::Stopped),
            None => Ok(&self.store),
        }
    }

    /// How the runtime stopped, if it has.
    pub(super) fn finished(&self) -> Option<bool> {
        self.finished.get().copied()
    }

    /// Ends the access. Returns how the runtime stopped, which the first call decides.
    pub(super) fn end(&self, finished: bool) -> bool {
        *self.finished.get_or_init(|| finished)
    }
}
