//! Keeps the tables in order.
//!
//! Owns: nothing · Receives: its timer · Sends: nothing · If it dies: restarted; everything it does is idempotent, and any
//! process may do it.

use crate::error::{Error, error_chain};
use crate::store::Store;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Supervised, WrapFuture};
use std::time::Duration;

/// How often to look. The partitions made ahead last for minutes at the highest rate measured.
const EVERY: Duration = Duration::from_secs(15);

pub(crate) struct Janitor {
    pub(crate) store: Store,
}

impl Janitor {
    fn clean(&self, context: &mut Context<Self>) {
        let store = self.store.clone();
        let cleaning = async move {
            report("make partitions", store.ensure_partitions().await.map(i64::from));
            report("remove expired waiters", store.remove_expired_waiters().await);
            report("take over stray leases", store.reclaim_strays().await);
        };
        context.spawn(cleaning.into_actor(self).map(|(), _, context| {
            context.run_later(EVERY, |actor: &mut Self, context| actor.clean(context));
        }));
    }
}

fn report(task: &'static str, outcome: Result<i64, Error>) {
    match outcome {
        Ok(0) => {}
        Ok(count) => tracing::info!(task, count, "the janitor was at work"),
        Err(error) => tracing::warn!(task, error = error_chain(&error), "the janitor could not do its work"),
    }
}

impl Actor for Janitor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.clean(context);
    }
}

impl Supervised for Janitor {}
