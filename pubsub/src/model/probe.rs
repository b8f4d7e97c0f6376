//! Tells the host of a handler what has become of a delivery that the handler has taken.

use crate::panics::{self, Panic};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// Travels inside a delivery. If it is dropped while its thread panics, it reports the panic as that delivery's.
#[derive(Debug)]
pub(crate) struct Probe(Arc<Observed>);

/// The report of a [`Probe`].
#[derive(Debug)]
pub(crate) struct Report(Arc<Observed>);

#[derive(Debug, Default)]
struct Observed {
    panic: OnceLock<Panic>,
    settles_in_transaction: AtomicBool,
}

impl Probe {
    /// Returns a probe, and the place of its report.
    pub(crate) fn new() -> (Self, Report) {
        let observed = Arc::new(Observed::default());
        (Self(Arc::clone(&observed)), Report(observed))
    }

    /// Returns one more place of its report.
    #[cfg(feature = "testing")]
    pub(crate) fn report(&self) -> Report {
        Report(Arc::clone(&self.0))
    }

    /// Reports that the handler settles the delivery in a transaction of its own. Whether it commits is not known here.
    pub(crate) fn settles_in_transaction(&self) {
        // The answer to the delivery comes after it, through a channel that orders the two.
        self.0.settles_in_transaction.store(true, Ordering::Relaxed);
    }
}

impl Report {
    /// The panic that dropped the delivery, if there was one.
    pub(crate) fn panic(&self) -> Option<&Panic> {
        self.0.panic.get()
    }

    /// Whether the handler has tried to settle the delivery in a transaction of its own.
    pub(crate) fn settles_in_transaction(&self) -> bool {
        self.0.settles_in_transaction.load(Ordering::Relaxed)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(panic) = panics::take_newest()
        {
            // Only this probe sets it, and it is dropped once.
            self.0.panic.get_or_init(|| panic);
        }
    }
}
