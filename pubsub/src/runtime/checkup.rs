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

/// The longest wait for an answer of the system arbiter.
const LIVE_DEADLINE: Duration = Duration::from_secs(1);

/// The longest wait for an answer of the database.
const DATABASE_DEADLINE: Duration = Duration::from_secs(2);

/// The longest wait for both: the questions are put by the system arbiter.
const READY_DEADLINE: Duration = Duration::from_secs(3);

/// The health of one process. Its questions are put at most once a second, however many ask for it.
pub(super) struct Checkup {
    pub(super) vitals: Arc<Vitals>,
    /// The silence after which other processes take over.
    pub(super) silence_limit: Duration,
    /// The age from which unread events are reported.
    pub(super) report_unread_after: Duration,
    liveness: Inquiry<()>,
    database: Inquiry<Answers>,
}

/// The database's answers, or the codes of the errors that came instead.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    /// Whether the schema works with this library.
    pub(super) schema: Result<(), String>,
    /// The subscriptions with unread events, of all processes.
    pub(super) unread: Result<Arc<[Unread]>, String>,
}

impl Checkup {
    pub(super) fn new(vitals: Arc<Vitals>, silence_limit: Duration, report_unread_after: Duration) -> Self {
        let (liveness, database) = (Inquiry::new(), Inquiry::new());
        Self { vitals, silence_limit, report_unread_after, liveness, database }
    }

    /// Whether the system arbiter, on which the runtime's own actors live, responds.
    pub(super) async fn is_alive(&self, system: &Arbiter) -> bool {
        // Without an arbiter the sender is dropped, which is an answer too.
        let ask = |sender: Sender<_>| {
            system.spawn_fn(move || {
                sender.send_replace(Some(()));
            });
        };
        self.liveness.answer(ask, LIVE_DEADLINE).await.is_some()
    }

    /// Asks the database. The questions go on if the caller goes away.
    pub(super) async fn ask_database(&self, system: &Arbiter, store: &Store) -> Answers {
        let ask = |sender: Sender<_>| {
            let store = store.clone();
            system.spawn(async move {
                let (schema, unread) = tokio::join!(
                    timeout(DATABASE_DEADLINE, store.check_schema()),
                    timeout(DATABASE_DEADLINE, store.unread(Duration::ZERO)),
                );
                let (schema, unread) = (code(schema.ok()), code(unread.ok()).map(Arc::from));
                // It stays in the channel if nobody waits any more.
                sender.send_replace(Some(Answers { schema, unread }));
            });
        };
        self.database.answer(ask, READY_DEADLINE).await.unwrap_or_else(|| {
            let silence = "no_answer".to_owned();
            Answers { schema: Err(silence.clone()), unread: Err(silence) }
        })
    }
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
        let system = Arbiter::new();
        until(&checkup, &system, true).await;
        let (release, blocked) = mpsc::channel::<()>();
        system.spawn_fn(move || blocked.recv().unwrap_or_default());
        // For a second, the last answer counts.
        until(&checkup, &system, false).await;
        drop(release);
        until(&checkup, &system, true).await;
        system.stop();
        until(&checkup, &system, false).await;
    }

    async fn until(checkup: &Checkup, system: &Arbiter, expected: bool) {
        let waiting = async {
            while checkup.is_alive(system).await != expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(60), waiting).await.expect("it becomes so in time");
    }
}
