//! A worker process: one runtime with an ordered and an unordered subscription, whose handlers record each step.

use crate::history::Step;
use crate::record::Recorder;
use pubsub::{Backoff, Builder, Channel, Delivery, Failure, Handled, PubSub, SubscribeOptions};
use pubsub_tests::{DEADLINE, in_child_process};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// The environment variable with the path of the worker's history.
pub(crate) const HISTORY: &str = "PUBSUB_FAULTS_HISTORY";

/// The environment variable with the filter of the workers' logs.
const LOG: &str = "PUBSUB_FAULTS_LOG";

/// The test that is a worker.
pub(crate) const WORKER: &str = "worker::child_works_under_faults";

/// The subscriptions, and whether each is ordered. Histories name them by their index.
pub(crate) const SUBSCRIPTIONS: [(&str, bool); 2] = [("unordered", false), ("ordered", true)];

/// The actors that a worker lets panic, one after another, on SIGUSR1.
const ACTORS: [&str; 5] = ["listener", "dispatcher", "scheduler", "heartbeat", "janitor"];

/// The environment variable that makes the worker one of the old release, which does not know the newest version of the payload.
pub(crate) const OLD_RELEASE: &str = "PUBSUB_FAULTS_OLD_RELEASE";

/// An event. It may be attempted few times, so that faults which are charged to events show as dead letters.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel(
    "fact",
    version = 2,
    upcast_from = OldFact,
    max_attempts = 5,
    backoff(initial = "20ms", max = "100ms")
)]
pub(crate) struct Fact {
    pub(crate) n: i64,
    /// Whether it kills its handler's process.
    pub(crate) poison: bool,
}

/// The event as the old release has it. It is not derived, because no two types of one crate may derive the same channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct OldFact(pub(crate) i64, pub(crate) bool);

impl Channel for OldFact {
    const NAME: &'static str = "fact";
    const MAX_ATTEMPTS: u32 = Fact::MAX_ATTEMPTS;
    const BACKOFF: Backoff = Fact::BACKOFF;
}

impl From<OldFact> for Fact {
    fn from(OldFact(n, poison): OldFact) -> Self {
        Self { n, poison }
    }
}

impl From<&Fact> for (i64, bool) {
    fn from(fact: &Fact) -> Self {
        (fact.n, fact.poison)
    }
}

impl From<&OldFact> for (i64, bool) {
    fn from(fact: &OldFact) -> Self {
        (fact.0, fact.1)
    }
}

type Handling = Pin<Box<dyn Future<Output = Handled>>>;

fn handler<C: Channel>(
    subscription: usize,
    recorder: &Arc<Recorder>,
) -> impl Fn(Delivery<C>) -> Handling + Clone + Send + Unpin + 'static
where
    (i64, bool): for<'a> From<&'a C>,
{
    let recorder = Arc::clone(recorder);
    move |fact: Delivery<C>| {
        let recorder = Arc::clone(&recorder);
        Box::pin(async move {
            let ((n, poison), token) = (<(i64, bool)>::from(&*fact), fact.token().0);
            recorder.record(Step::Started, subscription, n, token);
            if poison {
                std::process::abort();
            }
            // Some are slow, so that most faults meet a handler at work.
            let most = if n % 40 == 0 { 400 } else { 3 };
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..most))).await;
            if n % 16 == 0 && fact.attempt() == 1 {
                recorder.record(Step::Failed, subscription, n, token);
                return Err(Failure::retry("not at the first attempt"));
            }
            recorder.record(Step::Accepted, subscription, n, token);
            Ok(())
        })
    }
}

/// Writes the worker's log beside its history, which a failed run keeps.
fn log_to(path: &Path) {
    let log = Mutex::new(File::create(path).expect("a place for the log"));
    let filter = std::env::var(LOG).unwrap_or_else(|_| "pubsub=info".to_owned());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(log).init();
}

fn subscribed<C: Channel>(url: &str, recorder: &Arc<Recorder>) -> Builder
where
    (i64, bool): for<'a> From<&'a C>,
{
    let options = |ordered| match ordered {
        true => SubscribeOptions::new().concurrency(8).ordered(),
        false => SubscribeOptions::new().concurrency(8),
    };
    let subscribe = |builder: Builder, (index, (name, ordered)): (usize, (&str, bool))| {
        builder.subscribe_fn_with(name, options(ordered), handler::<C>(index, recorder))
    };
    SUBSCRIPTIONS.into_iter().enumerate().fold(PubSub::builder(url), subscribe)
}

/// Works until SIGTERM, then drains.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_works_under_faults() {
    let Some((url, report)) = in_child_process() else { return };
    let path = PathBuf::from(std::env::var_os(HISTORY).expect("a path for the history"));
    let recorder = Arc::new(Recorder::create(&path));
    log_to(&path.with_extension("log"));
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let mut panic = signal(SignalKind::user_defined1()).unwrap();
    let build = match std::env::var_os(OLD_RELEASE) {
        Some(_) => subscribed::<OldFact>,
        None => subscribed::<Fact>,
    };
    // A worker may be started while the database is away, as one whose supervisor starts it again until it succeeds.
    let pubsub = loop {
        match build(&url, &recorder).start().await {
            Ok(pubsub) => break pubsub,
            Err(error) if error.is_retryable() => report(&format!("again: {error}")),
            Err(error) => return report(&format!("failed: {error}")),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    report("started");
    let mut next = 0;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = panic.recv() => {
                pubsub::testing::inject_panic(ACTORS[next % ACTORS.len()]);
                next += 1;
            }
        }
    }
    report(if pubsub.drain(DEADLINE / 2).await { "drained" } else { "not drained" });
}
