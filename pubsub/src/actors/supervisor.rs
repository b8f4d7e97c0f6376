//! Keeps the runtime's own actors alive.
//!
//! actix's own `Supervisor` restarts an actor whose context has finished, but not one that panicked, and dropping the context
//! of a panicked actor polls it once more in the middle of the unwinding. So this supervisor owns the context's future. It
//! polls it inside `catch_unwind`, and restarts it in place, which keeps the actor's address and its queued messages valid.
//!
//! Owns: the future of one system actor, its restarts · Receives: ends and panics, by polling · Sends: nothing · If it dies:
//! its actor ends, and other processes reclaim this one's leases.

use crate::panics::{self, Panic};
use crate::policy::restart::Restarts;
use actix::dev::ContextFut;
use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Supervised};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Instant;
use tokio::time::Sleep;

/// The address of an actor that has not started yet, so that two actors can know each other from the start.
pub(crate) struct ActorSlot<A: Actor<Context = Context<A>>>(Context<A>);

impl<A> ActorSlot<A>
where
    A: Supervised + Actor<Context = Context<A>> + Unpin,
{
    pub(crate) fn new() -> Self {
        Self(Context::new())
    }

    pub(crate) fn address(&self) -> Addr<A> {
        self.0.address()
    }

    /// Starts the actor on the current arbiter and keeps it alive until its context is stopped, or the arbiter ends.
    pub(crate) fn start(self, name: &'static str, actor: A) -> Addr<A> {
        panics::watch_this_thread();
        let address = self.0.address();
        let actor = Box::new(self.0.into_future(actor));
        let held = address.clone();
        actix_rt::spawn(Supervisor {
            name,
            actor,
            _address: held,
            restarts: Restarts::default(),
            waiting: None,
        });
        address
    }
}

struct Supervisor<A>
where
    A: Supervised + Actor<Context = Context<A>>,
{
    name: &'static str,
    actor: Box<ContextFut<A, Context<A>>>,
    /// The actor's address. It is held here because actix does not restart an actor without one, and some actors receive no
    /// messages.
    _address: Addr<A>,
    restarts: Restarts,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<A> Future for Supervisor<A>
where
    A: Supervised + Actor<Context = Context<A>> + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            if let Some(waiting) = &mut this.waiting {
                ready!(waiting.as_mut().poll(context));
                this.waiting = None;
                // The actor always restarts, because its address is held here.
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| this.actor.restart())) {
                    this.died(payload.as_ref());
                    continue;
                }
            }
            match catch_unwind(AssertUnwindSafe(|| this.poll_actor(context))) {
                Ok(Poll::Pending) => return Poll::Pending,
                Ok(Poll::Ready(())) => return Poll::Ready(()),
                Err(payload) => this.died(payload.as_ref()),
            }
        }
    }
}

impl<A> Supervisor<A>
where
    A: Supervised + Actor<Context = Context<A>>,
{
    fn poll_actor(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        #[cfg(feature = "testing")]
        panics::panic_if_injected(self.name, context.waker());
        Pin::new(&mut *self.actor).poll(context)
    }

    fn died(&mut self, payload: &(dyn std::any::Any + Send)) {
        let panic = panics::last().unwrap_or_else(|| Panic::from_payload(payload));
        let wait = self.restarts.note(Instant::now(), fastrand::f64());
        tracing::error!(actor = self.name, %panic, ?wait, restarts = self.restarts.total(), "a system actor died and restarts");
        self.waiting = Some(Box::pin(tokio::time::sleep(wait)));
    }
}

impl<A> Drop for Supervisor<A>
where
    A: Supervised + Actor<Context = Context<A>>,
{
    fn drop(&mut self) {
        // The context is terminated first, so that dropping it does not poll it again.
        self.actor.ctx().terminate();
    }
}
