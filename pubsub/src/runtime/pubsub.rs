//! The handle to a running runtime.

use super::access::Access;
#[cfg(feature = "actix-web-4")]
use super::checkup::Checkup;
use super::subscription::Subscription;
use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::dispatcher::Dispatcher;
use crate::actors::message::Drain;
use crate::error::{Error, error_chain};
use crate::model::channel::Channel;
use crate::model::process::ProcessId;
use crate::observe::{Gauges, HandlerStatus};
use crate::store::Store;
use crate::store::executor::{Executor, Row, Statement, sealed};
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

/// The running parts, and the values that are needed to stop them.
pub(super) struct Running {
    /// The runtime's own arbiter, on which its actors live.
    pub(super) arbiter: ArbiterThread,
    pub(super) subscriptions: Vec<RunningSubscription>,
    pub(super) store: Store,
    pub(super) process: ProcessId,
    #[cfg(feature = "actix-web-4")]
    pub(super) checkup: Checkup,
}

/// The handle to a running publish/subscribe runtime. [`PubSub::builder`] builds one.
///
/// It is cheap to clone. The runtime stops when the last clone is dropped. Call [`drain`](Self::drain) before the process ends.
/// A drop leaves the handlers only 100 ms to finish, and unfinished deliveries run again as their next attempt.
///
/// A reference to a `PubSub` is an [`Executor`]: `publish(&pubsub, &event)` publishes in a transaction of its own.
#[derive(Clone)]
pub struct PubSub {
    inner: Arc<Inner>,
}

struct Inner {
    running: Arc<Running>,
    access: Access,
}

/// The time that handlers have to finish when the last handle is dropped without a drain, or when a second signal comes. It suffices to
/// return the deliveries that have not started.
pub(super) const DROP_DEADLINE: Duration = Duration::from_millis(100);

/// The longest wait for the database to record that the process leaves.
const LEAVE_DEADLINE: Duration = Duration::from_secs(2);

impl PubSub {
    pub(super) fn new(running: Running) -> Self {
        let access = Access::new(running.store.clone());
        Self { inner: Arc::new(Inner { running: Arc::new(running), access }) }
    }

    /// Returns the operations on a subscription of channel `C`: its dead letters, its position, its lag. The subscription's
    /// handler may run in any process, or in none. The first operation checks that the subscription exists.
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

    /// Finishes the deliveries that have started, and stops the runtime. Returns whether all of them finished within
    /// `deadline`. The unfinished ones run again in another process.
    ///
    /// A drain claims no more events, and returns the deliveries that have not started. Once the answers of the handlers are
    /// settled, or `deadline` has passed, `stopping` and `stopped` of the handler actors are called.
    ///
    /// The handlers live in the actix system of this process, so drain before the system stops. actix-web stops it on a
    /// signal. An application that drains handles its signals itself: see `HttpServer::disable_signals`, or `PubSub::serve` with the
    /// feature `actix-web-4`, which does all of this.
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

/// The parts that the interfaces for actix-web look at.
#[cfg(feature = "actix-web-4")]
impl PubSub {
    pub(super) fn checkup(&self) -> &Checkup {
        &self.inner.running.checkup
    }

    pub(super) fn arbiter(&self) -> &ArbiterThread {
        &self.inner.running.arbiter
    }

    pub(super) fn store(&self) -> &Store {
        &self.inner.running.store
    }

    /// Returns whether the runtime finished every delivery that had started; `None` while it runs.
    pub(super) fn finished(&self) -> Option<bool> {
        self.inner.access.finished()
    }
}

impl Executor for &PubSub {}

impl sealed::Executor for &PubSub {
    async fn run(&mut self, statement: Statement<'_>) -> Result<Vec<Row>, Error> {
        self.inner.access.store()?.run(statement).await
    }
}

impl Running {
    /// Drains every dispatcher, and then ends the registration. Returns whether every delivery that had started was finished.
    async fn finish(&self, deadline: Duration) -> bool {
        let drains = join_all(self.subscriptions.iter().map(|running| running.dispatcher.send(Drain)));
        // A dispatcher that does not answer has died, so it is unknown whether its handler had finished.
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

    /// Stops the runtime's own arbiter. The dispatchers end with it, and the handlers' threads with the dispatchers.
    fn stop(&self) {
        self.arbiter.stop();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.access.finished().is_some() {
            return;
        }
        self.access.end(false);
        let running = Arc::clone(&self.running);
        // This runs on the runtime's own arbiter, which `stop` stops last.
        self.running.arbiter.spawn(async move {
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
