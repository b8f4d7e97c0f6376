//! The third parties, which are sometimes down or full, and one bug of the shop's own.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// How many calls the e-mail provider refuses before it works.
const MAIL_OUTAGE: u32 = 2;

/// The domain whose mailboxes are full.
pub(crate) const FULL: &str = "full.example";

/// How long a call over the network takes.
const LATENCY: Duration = Duration::from_millis(10);

/// The state of the third parties. It outlives the handlers, which are restarted.
#[derive(Debug)]
pub(crate) struct Outside {
    mail_refusals_left: AtomicU32,
    full_domain: Mutex<Option<&'static str>>,
    bug_unseen: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum MailError {
    #[error("the e-mail provider is down: connection refused")]
    Down,
    #[error("the e-mail provider says: 452 the mailbox of {0} is full")]
    Full(String),
}

impl Outside {
    pub(crate) fn new() -> Self {
        Self {
            mail_refusals_left: AtomicU32::new(MAIL_OUTAGE),
            full_domain: Mutex::new(Some(FULL)),
            bug_unseen: AtomicBool::new(true),
        }
    }

    /// Sends an e-mail through the provider.
    pub(crate) async fn mail(&self, receiver: &str) -> Result<(), MailError> {
        tokio::time::sleep(LATENCY).await;
        let refused = self
            .mail_refusals_left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        if refused.is_ok() {
            return Err(MailError::Down);
        }
        let full = *self.full_domain.lock().unwrap_or_else(PoisonError::into_inner);
        match receiver.rsplit_once('@') {
            Some((_, domain)) if Some(domain) == full => Err(MailError::Full(receiver.to_owned())),
            _ => Ok(()),
        }
    }

    /// Makes room in the full mailboxes.
    pub(crate) fn empty_mailboxes(&self) {
        *self.full_domain.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns true once: the bug strikes a single time.
    pub(crate) fn bug_strikes(&self) -> bool {
        self.bug_unseen.swap(false, Ordering::Relaxed)
    }
}
