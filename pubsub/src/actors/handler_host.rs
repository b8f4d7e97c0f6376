//! Hosts one subscription's handler: the user's actor. When the actor dies, its factory makes another one.
//!
//! The host is not an actor but the task that owns one. actix does not restart an actor that panicked, and polls it once more
//! while it unwinds (see `supervisor`). So the host polls the actor's context inside `catch_unwind`. After a panic it
//! terminates the context, drops it apart from the unwinding, and asks the factory for a fresh actor.
//!
//! Owns: the user's actor, its factory, its restarts, its deliveries in flight · Receives: `HostCommand` · Sends: `Answers`,
//! `HandlerDied`, `HandlerRecovered` · If it dies, or its arbiter ends: the dispatcher learns of it and starts another one.

mod in_flight;
mod pump;
mod running;

use crate::actors::handler_link::HandlerLink;
use crate::actors::message::{ExitReason, HandlerDied, HandlerRecovered};
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::panics::{self, Panic};
use crate::policy::restart::Restarts;
use actix::dev::ContextFut;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};
use in_flight::{InFlight, ReplaceReason};
use pump::Pump;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;
use tokio::sync::oneshot;
use tokio::time::Sleep;

/// Runs a handler on the current arbiter until the dispatcher drops its end of the link.
pub(crate) fn run<C, H, F>(link: HandlerLink, factory: F) -> impl Future<Output = ()>
where
    C: Channel,
    H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    F: Fn() -> H + Unpin,
{
    panics::watch_this_thread();
    let in_flight = InFlight::new(link.config, link.commands, link.answers);
    HandlerHost {
        factory,
        in_flight: Rc::new(RefCell::new(in_flight)),
        state: State::Starting,
        restarts: Restarts::default(),
        noted: panics::noted(),
        deaths: link.deaths,
        recoveries: link.recoveries,
        channel: PhantomData,
        _alive: link.alive,
    }
}

struct HandlerHost<C, H: Actor<Context = Context<H>>, F> {
    factory: F,
    in_flight: Rc<RefCell<InFlight>>,
    state: State<H>,
    restarts: Restarts,
    /// The number of panics that were noted on this thread before the handler was last polled.
    noted: u64,
    deaths: Recipient<HandlerDied>,
    recoveries: Recipient<HandlerRecovered>,
    channel: PhantomData<fn() -> C>,
    _alive: oneshot::Sender<()>,
}

enum State<H: Actor<Context = Context<H>>> {
    /// The next step is to ask the factory for a handler.
    Starting,
    /// The handler runs.
    Running(Box<ContextFut<H, Context<H>>>),
    /// Too many handlers have died, so the next one has to wait.
    Quarantined(Pin<Box<Sleep>>),
}

/// How a handler ended.
enum End {
    Panicked(Box<dyn std::any::Any + Send>),
    /// Its context has not ended, but one of its deliveries requires that it is replaced.
    Unusable(ReplaceReason),
    StoppedItself,
}

impl<C, H, F> Future for HandlerHost<C, H, F>
where
    C: Channel,
    H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    F: Fn() -> H + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        catch_unwind(AssertUnwindSafe(|| this.drive(context))).unwrap_or_else(|payload| {
            let panic = panics::take_newest().unwrap_or_else(|| Panic::from_payload(payload.as_ref()));
            tracing::error!(channel = C::NAME, %panic, "the host of a handler died");
            Poll::Ready(())
        })
    }
}

impl<C, H, F> HandlerHost<C, H, F>
where
    C: Channel,
    H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    F: Fn() -> H + Unpin,
{
    fn drive(&mut self, context: &mut std::task::Context<'_>) -> Poll<()> {
        let this = self;
        loop {
            {
                let mut in_flight = this.in_flight.borrow_mut();
                in_flight.poll_commands(context);
                in_flight.poll_running(context);
            }
            let closed = this.in_flight.borrow().closed;
            match &mut this.state {
                State::Starting if closed => return Poll::Ready(()),
                State::Starting => this.start_handler(),
                State::Quarantined(_) if closed => return Poll::Ready(()),
                State::Quarantined(sleep) => {
                    let mut in_flight = this.in_flight.borrow_mut();
                    in_flight.give_back();
                    in_flight.flush();
                    if sleep.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    this.state = State::Starting;
                    drop(in_flight);
                    this.recoveries.do_send(HandlerRecovered);
                }
                State::Running(handler) => {
                    if closed {
                        handler.ctx().stop();
                    }
                    let timed_out = std::mem::take(&mut this.in_flight.borrow_mut().to_cancel);
                    this.noted = panics::noted();
                    // The user's code runs in both.
                    let polled = catch_unwind(AssertUnwindSafe(|| {
                        for future in timed_out {
                            handler.ctx().cancel_future(future);
                        }
                        Pin::new(&mut **handler).poll(context)
                    }));
                    match this.after_poll(polled, context) {
                        None => return Poll::Pending,
                        Some(End::StoppedItself) if closed => return Poll::Ready(()),
                        Some(end) => this.handle_exit(end),
                    }
                }
            }
        }
    }

    /// Asks the factory for a handler.
    fn start_handler(&mut self) {
        let in_flight = Rc::clone(&self.in_flight);
        self.noted = panics::noted();
        let built = catch_unwind(AssertUnwindSafe(|| {
            let handler = (self.factory)();
            let mut context = Context::new();
            context.spawn(Pump::<C>::new(in_flight));
            Box::new(context.into_future(handler))
        }));
        match built {
            Ok(handler) => self.state = State::Running(handler),
            Err(payload) => self.handle_exit(End::Panicked(payload)),
        }
    }

    /// Sends the answers after the handler was polled. Returns how the handler ended, if it has.
    fn after_poll(
        &mut self,
        polled: Result<Poll<()>, Box<dyn std::any::Any + Send>>,
        context: &mut std::task::Context<'_>,
    ) -> Option<End> {
        let mut in_flight = self.in_flight.borrow_mut();
        let end = match polled {
            Err(payload) => Some(End::Panicked(payload)),
            Ok(Poll::Ready(())) => Some(End::StoppedItself),
            Ok(Poll::Pending) => {
                // Registers this task for the answers of the deliveries that were just started.
                in_flight.poll_running(context);
                in_flight.replace.take().map(End::Unusable)
            }
        };
        in_flight.flush();
        if std::mem::take(&mut in_flight.yielded) || !in_flight.to_cancel.is_empty() {
            context.waker().wake_by_ref();
        }
        end
    }

    /// Drops a handler that has ended, and decides when the next one starts.
    fn handle_exit(&mut self, end: End) {
        let (reason, unexplained) = match end {
            End::StoppedItself => (ExitReason::StoppedItself, None),
            End::Unusable(ReplaceReason::Panicked(panic)) => (ExitReason::Panicked(panic), None),
            End::Unusable(ReplaceReason::TimedOut(after)) => (ExitReason::TimedOut(after), None),
            End::Panicked(payload) => {
                // The note is still there if no delivery's probe has taken it. Then it is unknown which delivery panicked. So it
                // is if nothing took a note.
                let unexplained = panics::take_newest();
                let was_seen = panics::noted() != self.noted || !panics::hook_was_replaced();
                let panic = panics::last().filter(|_| was_seen);
                let panic = panic.unwrap_or_else(|| Panic::from_payload(payload.as_ref()));
                let unexplained = if was_seen { unexplained } else { Some(panic.clone()) };
                (ExitReason::Panicked(panic), unexplained)
            }
        };
        self.in_flight.borrow_mut().next_generation(unexplained);
        self.drop_handler();
        let wait = self.restarts.note(Instant::now(), fastrand::f64());
        self.deaths.do_send(HandlerDied { reason, wait, restarts: self.restarts.total() });
        if !wait.is_zero() {
            self.state = State::Quarantined(Box::pin(tokio::time::sleep(wait)));
        }
    }

    /// Drops the handler, and catches a panic of its `Drop`. The context is terminated first, so that dropping it does not poll
    /// the handler again.
    fn drop_handler(&mut self) {
        let State::Running(mut handler) = std::mem::replace(&mut self.state, State::Starting) else {
            return;
        };
        handler.ctx().terminate();
        if catch_unwind(AssertUnwindSafe(|| drop(handler))).is_err() {
            let panic = panics::take_newest().map(|panic| panic.to_string()).unwrap_or_default();
            tracing::error!(channel = C::NAME, panic, "a handler panicked while it was dropped");
        }
    }
}

impl<C, H: Actor<Context = Context<H>>, F> Drop for HandlerHost<C, H, F> {
    fn drop(&mut self) {
        // An answer counts, although the arbiter ends.
        if let Ok(mut in_flight) = self.in_flight.try_borrow_mut() {
            in_flight.flush();
        }
        if let State::Running(handler) = &mut self.state {
            handler.ctx().terminate();
        }
    }
}
