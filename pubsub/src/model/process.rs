//! The id of a running process in the database.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// The present id of this process. It changes when the process was declared dead and registers again.
#[derive(Debug, Clone)]
pub(crate) struct ProcessId(Arc<AtomicI64>);

impl ProcessId {
    pub(crate) fn new(id: i64) -> Self {
        Self(Arc::new(AtomicI64::new(id)))
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn set(&self, id: i64) {
        self.0.store(id, Ordering::Release);
    }
}
