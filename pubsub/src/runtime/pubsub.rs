//! The handle to a running runtime.

use super::access::Access;
use super::subscription::Subscription;
use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::dispatcher::Dispatcher;
use crate::actors::message::Drain;
use crate::error::{Error, error_chain};
use crate::model::channel::Channel;
use crate::model::process::ProcessId;
use crate::observe::{Gauges, HandlerStatus};
use crate::store::Store;
use crate::store::publish::{Executor, Statement, sealed};
use actix::Addr;
use futures_util::future::join_all;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A subscription whose handler runs in this process.
pub(super) struct RunningSubscription {
    pub(super) channel: &'static str,
    pub(super) subscription: Arc<str>,
    pub(super) dispatcher: Addr<Dispatcher>,
    pub(super) gauges: Arc<Gauges>,
}

/// Everything that runs, and what it needs to stop.
pub(super) struct Running {
    pub(super) system: ArbiterThread,
    pub(super) subscriptions: Vec<RunningSubscription>,
    pub(super) store: Store,
    pub(super) process: ProcessId,
}

/// A running publish/subscribe runtime. [`PubSub::builder`] begins one.
///
/// Cheap to clone. The runtime stops when the last clone is dropped. Call [`drain`](Self::drain) before the process ends:
/// dropping stops at once, and deliveries that had begun run again as their next attempt.
///
/// A reference to it is an [`Executor`]: `publish(&pubsub, &event)` publishes in a transaction of its own.
#[derive(Clone)]
pub struct PubSub {
    inner: Arc<Inner>,
}

struct Inner {
    running: Arc<Running>,
    access: Access,
}

/// Time for the handlers to finish when the last handle is dropped without a drain.
const DROP_DEADLINE: Duration = Duration::from_millis(100);

/// Longest wait for the database to note that the process leaves.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);

impl PubSub {
    pub(super) fn new(running: Running) -> Self {
        let access = Access::new(running.store.clone());
        Self { inner: Arc::new(Inner { running: Arc::new(running), access }) }
    }

    /// Operations on a subscription of channel `C`: its dead letters, its position, its lag. The subscription's handler may
    /// run in any process, or in none. Whether the subscription exists shows with the first operation.
    ///
    /// # Examples
    /// ```no_run
    /// # use pubsub::{Channel, PubSub};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Channel)]
    /// # #[channel("sms")]
    /// # struct Sms { msg: String }
    /// # async fn example(pubsub: PubSub) -> Result<(), pubsub::Error> {
    /// let twilio = pubsub.subscription::<Sms>("twilio");
    /// println!("{} events to go", twilio.lag().await?);
    /// # Ok(())
    /// # }
    /// ```
    pub fn subscription<C: Channel>(&self, name: impl Into<String>) -> Subscription<C> {
        Subscription::new(name.into(), self.inner.access.clone())
    }

    /// Counts what the handlers of this process have done since they started, with one entry for each subscription.
    #[must_use]
    pub fn handlers(&self) -> Vec<HandlerStatus> {
        let status =
            |running: &RunningSubscription| running.gauges.status(running.channel, &running.subscription);
        self.inner.running.subscriptions.iter().map(status).collect()
    }

    /// Finishes the deliveries that have begun, and stops. Returns whether all of them finished within `deadline`; the others
    /// run again in another process.
    ///
    /// No event is claimed from then on, and events that were claimed but not begun are returned. Once the answers of the
    /// handlers are settled, or `deadline` has passed, `stopping` and `stopped` of the handler actors are called.
    ///
    /// The handlers live in the actix system of this process, so drain before the system stops. actix-web stops it on a
    /// signal. An application that drains handles its signals itself: see `HttpServer::disable_signals`.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the runtime draining. It stops when its last handle is dropped.
    pub async fn drain(&self, deadline: Duration) -> bool {
        if let Some(finished) = self.inner.access.finished() {
            return finished;
        }
        let finished = self.inner.running.finish(deadline).await;
        let finished = self.inner.access.end(finished);
        self.inner.running.stop();
        tracing::info!(finished, "the pubsub runtime has drained");
        finished
    }
}

impl Executor for &PubSub {}

impl sealed::Executor for &PubSub {
    async fn run(&mut self, statement: Statement<'_>) -> Result<sealed::Rows, Error> {
        self.inner.access.store()?.publish(statement).await
    }
}

impl Running {
    /// Drains every dispatcher, then leaves. Returns whether every delivery that had begun was finished.
    async fn finish(&self, deadline: Duration) -> bool {
        let drains = join_all(self.subscriptions.iter().map(|running| running.dispatcher.send(Drain)));
        // A dispatcher that does not answer has died, and with it the knowledge of what its handler was doing.
        let finished = match tokio::time::timeout(deadline, drains).await {
            Ok(answers) => answers.iter().all(Result::is_ok),
            Err(_) => false,
        };
        match tokio::time::timeout(LEAVE_DEADLINE, self.store.leave(self.process.get())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = error_chain(&error), "stopped without telling the database");
            }
            Err(_) => tracing::warn!("stopped without telling the database: it did not answer"),
        }
        finished
    }

    /// The handlers' threads end with their dispatchers, and these with the system arbiter.
    fn stop(&self) {
        self.system.stop();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.access.finished().is_some() {
            return;
        }
        self.access.end(false);
        let running = Arc::clone(&self.running);
        // On the system arbiter, which `stop` stops last. Long enough to return the events that have not begun.
        self.running.system.spawn(async move {
            running.finish(DROP_DEADLINE).await;
            running.stop();
        });
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub")
            .field("process", &self.inner.running.process.get())
            .field("handlers", &self.handlers())
            .finish_non_exhaustive()
    }
}
