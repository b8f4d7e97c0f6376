//! Tells the database that this process lives.
//!
//! Owns: the process's row, and a connection of its own, so that no busy pool can starve it · Receives: its timer · Sends:
//! `Rejoined` when the process had been declared dead · If it dies: restarted; a beat missed is made up by the next.

use crate::actors::message::Rejoined;
use crate::error::{Error, error_chain};
use crate::store::Store;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Recipient, Supervised, WrapFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// The id under which this process claims now. It changes when the process was declared dead and registers again.
#[derive(Debug, Clone)]
pub(crate) struct ProcessId(Arc<AtomicI64>);

impl ProcessId {
    pub(crate) fn new(id: i64) -> Self {
        Self(Arc::new(AtomicI64::new(id)))
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, id: i64) {
        self.0.store(id, Ordering::Release);
    }
}

pub(crate) struct Heartbeat {
    pub(crate) store: Store,
    pub(crate) host: String,
    pub(crate) process: ProcessId,
    pub(crate) every: Duration,
    pub(crate) dispatchers: Vec<Recipient<Rejoined>>,
}

impl Heartbeat {
    /// Beats once, then plans the next: never two at once.
    fn beat(&self, context: &mut Context<Self>) {
        let (store, host, process) = (self.store.clone(), self.host.clone(), self.process.clone());
        let beating = async move {
            if store.beat(process.get()).await? {
                return Ok(None);
            }
            store.register_process(&host).await.map(Some)
        };
        context.spawn(beating.into_actor(self).map(Self::beaten));
    }

    fn beaten(answer: Result<Option<i64>, Error>, actor: &mut Self, context: &mut Context<Self>) {
        match answer {
            Ok(None) => {}
            Ok(Some(id)) => {
                let was = actor.process.get();
                actor.process.set(id);
                tracing::warn!(was, process = id, "this process was declared dead; it has registered again");
                for dispatcher in &actor.dispatchers {
                    dispatcher.do_send(Rejoined);
                }
            }
            Err(error) => tracing::warn!(error = error_chain(&error), "a heartbeat was not recorded"),
        }
        context.run_later(actor.every, |actor, context| actor.beat(context));
    }
}

impl Actor for Heartbeat {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.beat(context);
    }
}

impl Supervised for Heartbeat {}
