//! Remembers the panics of this process's handler threads.
//!
//! tokio catches a panic in a handler's future and drops its message, and actix closes the answer's channel without a reason.
//! So a hook, chained before the application's own, notes each panic on a watched thread ([`watch_this_thread`]), and a
//! probe that travels inside the delivery (`model/probe.rs`) reports which delivery it was.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, Once, PoisonError};

/// Panics that a thread remembers until they are taken: more than can happen in between.
const REMEMBERED: usize = 64;

thread_local! {
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<VecDeque<Panic>> = const { RefCell::new(VecDeque::new()) };
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
    static QUESTION: Cell<Question> = const { Cell::new(Question::None) };
}

/// The question whether the hook is in place, which a panic asks.
#[derive(Clone, Copy, PartialEq)]
enum Question {
    None,
    Asked,
    Answered,
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
    /// Returns a panic of which nothing is known, because the application had replaced the hook.
    pub(crate) fn unseen() -> Self {
        Self {
            message: "its message is unknown, because the panic hook was replaced".to_owned(),
            location: None,
        }
    }

    /// Reads the message of a caught panic.
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

/// Notes this thread's panics from now on.
pub(crate) fn watch_this_thread() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(install_hook);
    WATCHED.set(true);
}

fn install_hook() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if QUESTION.get() == Question::Asked {
            return QUESTION.set(Question::Answered);
        }
        if WATCHED.get() {
            note(info);
        }
        previous(info);
    }));
}

/// Whether the application has replaced the hook, so that panics were not noted. Then the hook is installed again, before the
/// application's.
///
/// Nothing but a panic can tell, so this panics and catches it. It is called after a panic that seems to have gone unnoticed.
pub(crate) fn hook_was_replaced() -> bool {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    QUESTION.set(Question::Asked);
    let asked = std::panic::catch_unwind(|| {
        panic!("pubsub asks whether its panic hook is in place; nothing has failed");
    });
    drop(asked);
    let replaced = QUESTION.replace(Question::None) != Question::Answered;
    if replaced {
        install_hook();
        tracing::warn!(
            "the panic hook was replaced after the start; it is chained again, to see which delivery panics"
        );
    }
    replaced
}

/// Returns the number of panics that were noted on this thread.
pub(crate) fn noted() -> u64 {
    COUNT.get()
}

fn note(info: &PanicHookInfo<'_>) {
    let panic = Panic {
        location: info.location().map(|place| format!("{}:{}", place.file(), place.line())),
        ..Panic::from_payload(info.payload())
    };
    // A panic during these borrows would be a panic during a panic, which aborts the process in any case.
    LAST.replace(Some(panic.clone()));
    COUNT.set(COUNT.get() + 1);
    NOTED.with_borrow_mut(|noted| {
        if noted.len() == REMEMBERED {
            noted.pop_front();
        }
        noted.push_back(panic);
    });
}

/// Takes this thread's newest panic that was not taken yet.
pub(crate) fn take_newest() -> Option<Panic> {
    NOTED.with_borrow_mut(VecDeque::pop_back)
}

/// Returns the last panic of this thread, taken or not: the one that was just caught.
pub(crate) fn last() -> Option<Panic> {
    LAST.with_borrow(Clone::clone)
}

/// Takes the oldest panic of this thread that was not taken yet: the reason why an answer is missing.
pub(crate) fn take_oldest() -> Option<Panic> {
    NOTED.with_borrow_mut(VecDeque::pop_front)
}

#[cfg(feature = "testing")]
mod injection {
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::task::Waker;

    #[derive(Default)]
    struct Injected {
        due: Vec<String>,
        /// The actors, to be woken for a panic.
        targets: Vec<(&'static str, Waker)>,
    }

    static INJECTED: Mutex<Injected> = Mutex::new(Injected { due: Vec::new(), targets: Vec::new() });

    fn injected() -> MutexGuard<'static, Injected> {
        INJECTED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one of this process's own actors panic.
    pub(crate) fn inject_panic(actor: &str) {
        let mut injected = injected();
        injected.due.push(actor.to_owned());
        for (_, waker) in injected.targets.extract_if(.., |(name, _)| *name == actor) {
            waker.wake();
        }
    }

    /// Whether every injected panic has happened.
    pub(crate) fn all_injected_panics_happened() -> bool {
        injected().due.is_empty()
    }

    /// Panics if a panic of this actor was injected. Otherwise the actor is woken when one is injected.
    pub(crate) fn panic_if_injected(actor: &'static str, waker: &Waker) {
        let mut injected = injected();
        if let Some(at) = injected.due.iter().position(|name| name == actor) {
            injected.due.swap_remove(at);
            drop(injected);
            panic!("injected by a test");
        }
        injected.targets.retain(|(name, target)| *name != actor || !target.will_wake(waker));
        injected.targets.push((actor, waker.clone()));
    }
}

#[cfg(feature = "testing")]
pub(crate) use injection::{all_injected_panics_happened, inject_panic, panic_if_injected};
