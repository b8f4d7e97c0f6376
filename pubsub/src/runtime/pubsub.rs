//! The handle to a running runtime.

use crate::actors::arbiter_thread::ArbiterThread;
use crate::actors::dispatcher::Dispatcher;
use crate::actors::message::Drain;
use crate::error::{Error, error_chain};
use crate::model::channel::Channel;
use crate::model::dead_letter::DeadLetter;
use crate::model::event::EventId;
use crate::model::process::ProcessId;
use crate::model::seek::{Seek, SeekReport};
use crate::observe::{Gauges, HandlerStatus};
use crate::store::Store;
use crate::store::publish::{Executor, Statement, sealed};
use actix::Addr;
use futures_util::future::join_all;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// One subscription, served.
pub(super) struct Served {
    pub(super) channel: &'static str,
    pub(super) subscription: Arc<str>,
    pub(super) dispatcher: Addr<Dispatcher>,
    pub(super) gauges: Arc<Gauges>,
}

/// What a handle is made of.
pub(super) struct Parts {
    pub(super) system: ArbiterThread,
    pub(super) served: Vec<Served>,
    pub(super) store: Store,
    pub(super) process: ProcessId,
}

/// A running publish/subscribe runtime. Cheap to clone; it stops when the last clone is dropped.
///
/// [`drain`](Self::drain) before the process ends: dropping stops at once, and what the handlers had begun runs again, as
/// their next attempt.
#[derive(Clone)]
pub struct PubSub {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Arc<Parts>,
    /// Set once it has stopped: whether all that had begun was finished.
    finished: OnceLock<bool>,
}

/// How long the handlers have to finish when the last handle is dropped without a drain.
const PARTING: Duration = Duration::from_millis(100);

/// Longest wait for the last words to the database.
const FAREWELL: Duration = Duration::from_secs(2);

impl PubSub {
    pub(super) fn new(parts: Parts) -> Self {
        Self { inner: Arc::new(Inner { parts: Arc::new(parts), finished: OnceLock::new() }) }
    }

    /// Up to `limit` dead letters of a subscription, by event id. To page on, give the last one's id as `after`.
    ///
    /// # Errors
    /// The database's own.
    pub async fn dead_letters<C: Channel>(
        &self,
        subscription: &str,
        after: Option<EventId>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        let after = after.map_or(i64::MIN, |id| id.0);
        self.store()?.dead_letters::<C>(subscription, after, limit).await
    }

    /// Puts all dead letters of a subscription back to work, their attempts reset. Returns how many.
    ///
    /// # Errors
    /// If the channel has no such subscription, or the database's own errors.
    pub async fn redrive<C: Channel>(&self, subscription: &str) -> Result<u64, Error> {
        self.store()?.redrive(C::NAME, subscription, None).await
    }

    /// Puts one dead letter back to work. False: it is not dead (any more).
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    pub async fn redrive_one<C: Channel>(&self, subscription: &str, event: EventId) -> Result<bool, Error> {
        Ok(self.store()?.redrive(C::NAME, subscription, Some(event.0)).await? > 0)
    }

    /// Moves a subscription in the log: back, so that past events are delivered again, or ahead. It need not be one of this
    /// process. [`seek_dry_run`](Self::seek_dry_run) tells beforehand what it will do.
    ///
    /// Of what was committed before the call, the events from the new position on are delivered, and no others; whatever
    /// commits later is delivered in any case. Old events carry their own ids, headers and times, and
    /// [`Delivery::is_replay`](crate::Delivery::is_replay). What is at work or in the mailbox stays there: such an event is
    /// delivered for that, and once more if it is ahead of the new position.
    ///
    /// # Examples
    /// ```no_run
    /// # use pubsub::{Channel, PubSub, subscription::Seek};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Channel)]
    /// # #[channel("sms")]
    /// # struct Sms { msg: String }
    /// # async fn example(pubsub: PubSub) -> Result<(), pubsub::Error> {
    /// let noon = Seek::Time("2026-11-23T12:00:00Z".parse().expect("a time"));
    /// let counted = pubsub.seek_dry_run::<Sms>("twilio", noon).await?;
    /// println!("{} again, {} never", counted.replayed, counted.skipped);
    /// pubsub.seek::<Sms>("twilio", noon).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// If the channel has no such subscription, or the database's own errors. It counts what it changes, which takes
    /// about a second for a million events, and is given up after 5 minutes.
    pub async fn seek<C: Channel>(&self, subscription: &str, to: Seek) -> Result<SeekReport, Error> {
        self.store()?.seek(C::NAME, subscription, to, false).await
    }

    /// Counts what [`seek`](Self::seek) would do, and changes nothing.
    ///
    /// # Errors
    /// As [`seek`](Self::seek).
    pub async fn seek_dry_run<C: Channel>(&self, subscription: &str, to: Seek) -> Result<SeekReport, Error> {
        self.store()?.seek(C::NAME, subscription, to, true).await
    }

    /// Brings a suspended subscription back: it reads on with the first event that it has not read and the log still has.
    /// Returns how many events left the log meanwhile, unread by it; from a million on there may be more. 0 as well if it
    /// was not suspended.
    ///
    /// # Errors
    /// If the channel has no such subscription, or if a partition leaves the log at this moment: then try again. Else the
    /// database's own.
    pub async fn resume<C: Channel>(&self, subscription: &str) -> Result<u64, Error> {
        self.store()?.resume(C::NAME, subscription).await
    }

    /// The connections of this process, unless it has stopped.
    fn store(&self) -> Result<&Store, Error> {
        match self.inner.finished.get() {
            Some(_) => Err(Error::Stopped),
            None => Ok(&self.inner.parts.store),
        }
    }

    /// What the handlers of this process have done since they started.
    #[must_use]
    pub fn handlers(&self) -> Vec<HandlerStatus> {
        let status = |served: &Served| served.gauges.status(served.channel, &served.subscription);
        self.inner.parts.served.iter().map(status).collect()
    }

    /// Claims nothing more, gives back what has not begun, and waits until the handlers have finished the rest and their
    /// answers are settled, but no longer than `deadline`. Then everything stops: `stopping` and `stopped` of the handlers are
    /// called. Returns whether all was finished; what was not runs again in another process.
    ///
    /// The handlers live in the actix system of this process: drain before it stops. actix-web stops it on a signal, so an
    /// application that drains handles its signals itself (`HttpServer::disable_signals`).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the runtime draining; it stops with its last handle.
    pub async fn drain(&self, deadline: Duration) -> bool {
        if let Some(&finished) = self.inner.finished.get() {
            return finished;
        }
        let finished = self.inner.parts.finish(deadline).await;
        let finished = *self.inner.finished.get_or_init(|| finished);
        self.inner.parts.stop();
        tracing::info!(finished, "the pubsub runtime has drained");
        finished
    }
}

impl Executor for &PubSub {}

impl sealed::Executor for &PubSub {
    async fn run(&mut self, statement: Statement<'_>) -> Result<sealed::Rows, Error> {
        self.store()?.publish(statement).await
    }
}

impl Parts {
    /// Drains every dispatcher, then leaves. Whether all that had begun was finished.
    async fn finish(&self, deadline: Duration) -> bool {
        let drains = join_all(self.served.iter().map(|served| served.dispatcher.send(Drain)));
        // A dispatcher that does not answer is gone, and with it whoever knew what its handler was at.
        let finished = match tokio::time::timeout(deadline, drains).await {
            Ok(answers) => answers.iter().all(Result::is_ok),
            Err(_) => false,
        };
        match tokio::time::timeout(FAREWELL, self.store.leave(self.process.get())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(error = error_chain(&error), "left without saying goodbye"),
            Err(_) => tracing::warn!("left without saying goodbye: the database did not answer"),
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
        if self.finished.get().is_some() {
            return;
        }
        let parts = Arc::clone(&self.parts);
        // On the system arbiter, which `stop` stops last. Long enough to give back what has not begun.
        self.parts.system.spawn(async move {
            parts.finish(PARTING).await;
            parts.stop();
        });
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub")
            .field("process", &self.inner.parts.process.get())
            .field("handlers", &self.handlers())
            .finish_non_exhaustive()
    }
}
