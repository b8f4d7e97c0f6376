//! A delivery that a handler has started, until it finishes: answered, unanswered, or timed out.

use crate::model::event::{EventId, LeaseToken};
use crate::model::failure::Handled;
use crate::model::probe::Report;
use crate::panics::Panic;
use actix::{Actor, AsyncContext, SpawnHandle};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::LocalSet;
use tokio::time::Sleep;

/// A delivery that runs in the handler.
pub(super) struct RunningDelivery {
    pub(super) token: LeaseToken,
    pub(super) event: EventId,
    pub(super) generation: u64,
    pub(super) report: Report,
    pub(super) answer: oneshot::Receiver<Handled>,
    pub(super) limit: Option<Limit>,
}

/// A delivery that has finished.
pub(super) struct FinishedDelivery {
    pub(super) token: LeaseToken,
    pub(super) event: EventId,
    pub(super) generation: u64,
    pub(super) panic: Option<Panic>,
    /// Whether the handler has tried to settle the delivery in a transaction of its own.
    pub(super) settles_in_transaction: bool,
    /// The handler's answer; `None` if it was dropped.
    pub(super) handled: Option<Handled>,
    /// The remains of the delivery, if it has timed out.
    pub(super) timed_out: Option<TimedOut>,
}

/// The remains of a delivery that has timed out.
pub(super) struct TimedOut {
    pub(super) after: Duration,
    /// The actor's future for the delivery, if there is one.
    pub(super) future: Option<SpawnHandle>,
    /// Whether the whole actor waits for the delivery. Such an actor can only be replaced.
    pub(super) atomic: bool,
}

/// The time limit of a delivery, and the tasks that run for it.
pub(super) struct Limit {
    after: Duration,
    alarm: Pin<Box<Sleep>>,
    /// The tasks that were spawned for the answer. actix keeps no handle of them, so it could not end them.
    tasks: LocalSet,
    future: Option<SpawnHandle>,
    atomic: bool,
}

impl Limit {
    /// Calls `respond` where the tasks and futures that it starts can be cancelled.
    pub(super) fn start<A>(
        after: Duration,
        context: &mut actix::Context<A>,
        respond: impl FnOnce(&mut actix::Context<A>),
    ) -> Self
    where
        A: Actor<Context = actix::Context<A>>,
    {
        let tasks = LocalSet::new();
        // Handles are numbered: if the response spawns an actor future, its handle lies between these two.
        let before = context.spawn(actix::fut::ready(()));
        let entered = tasks.enter();
        respond(context);
        drop(entered);
        let after_it = context.spawn(actix::fut::ready(()));
        let future = (before.next() != after_it).then(|| before.next());
        Self { after, alarm: Box::pin(tokio::time::sleep(after)), tasks, future, atomic: context.waiting() }
    }
}

impl Future for RunningDelivery {
    type Output = FinishedDelivery;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<FinishedDelivery> {
        let this = &mut *self;
        let busy =
            this.limit.as_mut().is_some_and(|limit| Pin::new(&mut limit.tasks).poll(context).is_pending());
        let (handled, timed_out) = match Pin::new(&mut this.answer).poll(context) {
            Poll::Ready(handled) => {
                if let Some(limit) = this.limit.take()
                    && busy
                {
                    // The delivery is answered, but tasks that the handler spawned go on.
                    actix_rt::spawn(limit.tasks);
                }
                (handled.ok(), None)
            }
            Poll::Pending => {
                let Some(limit) = &mut this.limit else { return Poll::Pending };
                ready!(limit.alarm.as_mut().poll(context));
                (None, Some(TimedOut { after: limit.after, future: limit.future, atomic: limit.atomic }))
            }
        };
        Poll::Ready(FinishedDelivery {
            token: this.token,
            event: this.event,
            generation: this.generation,
            panic: this.report.panic().cloned(),
            settles_in_transaction: this.report.settles_in_transaction(),
            handled,
            timed_out,
        })
    }
}
