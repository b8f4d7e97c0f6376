//! The health of the process: facts that its actors note, and questions to the database.

use super::inquiry::Inquiry;
use crate::error::Error;
use crate::observe::Vitals;
use crate::store::Store;
use crate::store::retention::Unread;
use actix::Arbiter;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::Sender;
use tokio::time::timeout;

/// The longest wait for an answer of the runtime's own arbiter.
const LIVE_DEADLINE: Duration = Duration::from_secs(1);

/// The longest wait for an answer of the database.
const DATABASE_DEADLINE: Duration = Duration::from_secs(2);

/// The longest wait for both: the questions are put by the runtime's own arbiter.
const READY_DEADLINE: Duration = Duration::from_secs(3);

/// The health of one process. Each question is put at most once a second, however many ask for it.
pub(super) struct Checkup {
    pub(super) vitals: Arc<Vitals>,
    /// The silence after which other processes take over.
    pub(super) silence_limit: Duration,
    /// The time after which an unread subscription is reported.
    pub(super) report_unread_after: Duration,
    liveness: Inquiry<()>,
    schema: Inquiry<Answer<()>>,
    unread: Inquiry<Answer<Arc<[Unread]>>>,
}

/// The database's answer, or the code of the error that came instead.
pub(super) type Answer<T> = Result<T, String>;

impl Checkup {
    pub(super) fn new(vitals: Arc<Vitals>, silence_limit: Duration, report_unread_after: Duration) -> Self {
        let (liveness, schema, unread) = (Inquiry::new(), Inquiry::new(), Inquiry::new());
        Self { vitals, silence_limit, report_unread_after, liveness, schema, unread }
    }

    /// Whether the runtime's own arbiter responds, on which its actors live.
    pub(super) async fn is_alive(&self, arbiter: &Arbiter) -> bool {
        // Without an arbiter the sender is dropped, which is an answer too.
        let ask = |sender: Sender<_>| {
            arbiter.spawn_fn(move || {
                sender.send_replace(Some(()));
            });
        };
        self.liveness.answer(ask, LIVE_DEADLINE).await.is_some()
    }

    /// Asks the database whether its schema works with this library. The question goes on if the caller goes away.
    pub(super) async fn ask_schema(&self, arbiter: &Arbiter, store: &Store) -> Answer<()> {
        let store = store.clone();
        ask(&self.schema, arbiter, async move { store.check_schema().await }).await
    }

    /// Asks the database for the subscriptions with unread events, of all processes. The question goes on if the caller goes away.
    pub(super) async fn ask_unread(&self, arbiter: &Arbiter, store: &Store) -> Answer<Arc<[Unread]>> {
        let store = store.clone();
        ask(&self.unread, arbiter, async move { store.unread(Duration::ZERO).await.map(Arc::from) }).await
    }
}

async fn ask<T: Clone + Send + Sync + 'static>(
    inquiry: &Inquiry<Answer<T>>,
    arbiter: &Arbiter,
    question: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Answer<T> {
    let put = |sender: Sender<_>| {
        arbiter.spawn(async move {
            let answer = timeout(DATABASE_DEADLINE, question).await;
            // It stays in the channel if nobody waits any more.
            sender.send_replace(Some(code(answer.ok())));
        });
    };
    inquiry.answer(put, READY_DEADLINE).await.unwrap_or_else(|| Err("no_answer".to_owned()))
}

/// Returns the code of the error in place of the error, whose text may have more in it than a stranger should read.
fn code<T>(answer: Option<Result<T, Error>>) -> Result<T, String> {
    match answer {
        Some(answer) => answer.map_err(|error| error.code().to_owned()),
        None => Err("timeout".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[actix::test]
    async fn a_process_whose_arbiter_is_blocked_is_not_alive() {
        let checkup = Checkup::new(Arc::default(), Duration::ZERO, Duration::ZERO);
        let arbiter = Arbiter::new();
        until(&checkup, &arbiter, true).await;
        let (release, blocked) = mpsc::channel::<()>();
        arbiter.spawn_fn(move || blocked.recv().unwrap_or_default());
        // For a second, the last answer counts.
        until(&checkup, &arbiter, false).await;
        drop(release);
        until(&checkup, &arbiter, true).await;
        arbiter.stop();
        until(&checkup, &arbiter, false).await;
    }

    async fn until(checkup: &Checkup, arbiter: &Arbiter, expected: bool) {
        let waiting = async {
            while checkup.is_alive(arbiter).await != expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), waiting).await.expect("it becomes so in time");
    }
}
