//! Remembers what panicked on this process's handler threads, and where.
//!
//! A panic in a handler's future is caught by tokio, which keeps its message to itself, and actix lets the answer's
//! channel close without a word. So a hook, chained before the one the application has, notes each panic of a thread
//! that [`watch`]es, and a [`PanicProbe`] that travels inside the delivery says which delivery it was.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::{Arc, Once, OnceLock};

/// Panics that a thread remembers until somebody asks: more than can happen between two looks.
const REMEMBERED: usize = 64;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<VecDeque<Panic>> = const { RefCell::new(VecDeque::new()) };
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// A panic's message and place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Panic {
    /// The panic's message, or a placeholder if it was not text.
    pub(crate) message: String,
    /// `file:line` of the panic, if it is known.
    pub(crate) location: Option<String>,
}

impl Panic {
    /// What a caught panic's payload says.
    pub(crate) fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "a value that is not text".to_owned());
        Self { message, location: None }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.message)?;
        self.location.as_ref().map_or(Ok(()), |location| write!(f, " (at {location})"))
    }
}

/// From now on this thread's panics are noted.
pub(crate) fn watch() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if WATCHED.get() {
                note(info);
            }
            previous(info);
        }));
    });
    WATCHED.set(true);
}

fn note(info: &PanicHookInfo<'_>) {
    let panic = Panic {
        location: info.location().map(|place| format!("{}:{}", place.file(), place.line())),
        ..Panic::from_payload(info.payload())
    };
    // A panic inside these very borrows would be a second one during the first: the process aborts either way.
    LAST.replace(Some(panic.clone()));
    NOTED.with_borrow_mut(|noted| {
        if noted.len() == REMEMBERED {
            noted.pop_front();
        }
        noted.push_back(panic);
    });
}

/// Takes the newest panic of this thread that nobody has taken.
pub(crate) fn take_newest() -> Option<Panic> {
    NOTED.with_borrow_mut(VecDeque::pop_back)
}

/// The last panic of this thread, whether anybody has taken it or not: for whoever just caught one.
pub(crate) fn last() -> Option<Panic> {
    LAST.with_borrow(Clone::clone)
}

/// Takes the oldest panic of this thread that nobody has taken: for whoever finds an answer missing.
pub(crate) fn take_oldest() -> Option<Panic> {
    NOTED.with_borrow_mut(VecDeque::pop_front)
}

/// Travels inside a delivery. Dropped while its thread panics, it takes the panic down as that delivery's.
#[derive(Debug)]
pub(crate) struct PanicProbe(Arc<OnceLock<Panic>>);

/// What a [`PanicProbe`] saw.
#[derive(Debug)]
pub(crate) struct PanicReport(Arc<OnceLock<Panic>>);

impl PanicProbe {
    /// A probe, and where its report will be.
    pub(crate) fn new() -> (Self, PanicReport) {
        let seen = Arc::new(OnceLock::new());
        (Self(Arc::clone(&seen)), PanicReport(seen))
    }
}

impl PanicReport {
    /// The panic that dropped the delivery, if one did.
    pub(crate) fn panic(&self) -> Option<&Panic> {
        self.0.get()
    }
}

impl Drop for PanicProbe {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(panic) = take_newest()
        {
            // Only this probe sets it, and it is dropped once.
            self.0.get_or_init(|| panic);
        }
    }
}

#[cfg(feature = "testing")]
mod injection {
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::task::Waker;

    #[derive(Default)]
    struct Injected {
        due: Vec<String>,
        /// Whom to wake for a strike.
        targets: Vec<(&'static str, Waker)>,
    }

    static INJECTED: Mutex<Injected> = Mutex::new(Injected { due: Vec::new(), targets: Vec::new() });

    fn injected() -> MutexGuard<'static, Injected> {
        INJECTED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a system actor of this process panic.
    pub(crate) fn inject_panic(actor: &str) {
        let mut injected = injected();
        injected.due.push(actor.to_owned());
        for (_, waker) in injected.targets.extract_if(.., |(name, _)| *name == actor) {
            waker.wake();
        }
    }

    /// Whether every strike has hit.
    pub(crate) fn all_injected_panics_happened() -> bool {
        injected().due.is_empty()
    }

    /// Panics if a strike at this actor is due; if not, it is woken when one is.
    pub(crate) fn panic_if_injected(actor: &'static str, waker: &Waker) {
        let mut injected = injected();
        if let Some(at) = injected.due.iter().position(|name| name == actor) {
            injected.due.swap_remove(at);
            drop(injected);
            panic!("struck by a test");
        }
        injected.targets.retain(|(name, target)| *name != actor || !target.will_wake(waker));
        injected.targets.push((actor, waker.clone()));
    }
}

#[cfg(feature = "testing")]
pub(crate) use injection::{all_injected_panics_happened, inject_panic, panic_if_injected};
