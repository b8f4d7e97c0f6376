//! Where one subscription's handler lives: the user's actor, rebuilt by its factory whenever it dies.
//!
//! Not an actor but the task that owns one. actix restarts no actor that panicked, and polls it once more while it unwinds
//! (see `supervisor`); so the cell polls the actor's context inside `catch_unwind`, and on a panic terminates it, drops it
//! apart from the unwinding, and asks the factory for a fresh one.
//!
//! Owns: the user's actor, its factory, its restarts, its workbench · Receives: `CellCommand` · Sends: `Answers`,
//! `HandlerDied`, `HandlerRecovered` · If it dies: its arbiter does; the dispatcher finds its deliveries refused.

mod at_work;
mod bench;
mod pump;

use crate::actors::line::Line;
use crate::actors::message::{Death, HandlerDied, HandlerRecovered};
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::panics::{self, Panic};
use crate::policy::restart::Restarts;
use actix::dev::ContextFut;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Recipient};
use bench::{Bench, Broken};
use pump::Pump;
use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Instant;
use tokio::time::Sleep;

/// Runs a handler on the current arbiter until the dispatcher hangs up.
pub(crate) fn run<C, H, F>(line: Line, factory: F) -> impl Future<Output = ()>
where
    C: Channel,
    H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    F: Fn() -> H + Unpin,
{
    panics::watch();
    let bench = Bench::new(line.assignment, line.commands, line.answers);
    Cell {
        factory,
        bench: Rc::new(RefCell::new(bench)),
        state: State::Vacant,
        restarts: Restarts::default(),
        deaths: line.deaths,
        recoveries: line.recoveries,
        channel: PhantomData,
    }
}

struct Cell<C, H: Actor<Context = Context<H>>, F> {
    factory: F,
    bench: Rc<RefCell<Bench>>,
    state: State<H>,
    restarts: Restarts,
    deaths: Recipient<HandlerDied>,
    recoveries: Recipient<HandlerRecovered>,
    channel: PhantomData<fn() -> C>,
}

enum State<H: Actor<Context = Context<H>>> {
    /// The next step is to ask the factory.
    Vacant,
    /// The handler runs.
    Occupied(Box<ContextFut<H, Context<H>>>),
    /// Too many deaths: the next handler has to wait.
    Waiting(Pin<Box<Sleep>>),
}

/// How a handler ended.
enum End {
    Panicked(Box<dyn std::any::Any + Send>),
    /// The pump or the bench saw what the context did not.
    Broken(Broken),
    StoppedItself,
}

impl<C, H, F> Future for Cell<C, H, F>
where
    C: Channel,
    H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    F: Fn() -> H + Unpin,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            {
                let mut bench = this.bench.borrow_mut();
                bench.poll_commands(context);
                bench.poll_at_work(context);
            }
            let closed = this.bench.borrow().closed;
            match &mut this.state {
                State::Vacant if closed => return Poll::Ready(()),
                State::Vacant => this.occupy(),
                State::Waiting(_) if closed => return Poll::Ready(()),
                State::Waiting(sleep) => {
                    let mut bench = this.bench.borrow_mut();
                    bench.give_back();
                    bench.flush();
                    if sleep.as_mut().poll(context).is_pending() {
                        return Poll::Pending;
                    }
                    this.state = State::Vacant;
                    drop(bench);
                    this.recoveries.do_send(HandlerRecovered);
                }
                State::Occupied(handler) => {
                    if closed {
                        handler.ctx().stop();
                    }
                    for overdue in std::mem::take(&mut this.bench.borrow_mut().to_cancel) {
                        handler.ctx().cancel_future(overdue);
                    }
                    let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut **handler).poll(context)));
                    match this.look_at(polled, context) {
                        None => return Poll::Pending,
                        Some(End::StoppedItself) if closed => return Poll::Ready(()),
                        Some(end) => this.bury(end),
                    }
                }
            }
        }
    }
}

impl<C, H, F> Cell<C, H, F>
where
    C: Channel,
    H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    F: Fn() -> H + Unpin,
{
    /// Asks the factory for a handler.
    fn occupy(&mut self) {
        let bench = Rc::clone(&self.bench);
        let built = catch_unwind(AssertUnwindSafe(|| {
            let handler = (self.factory)();
            let mut context = Context::new();
            context.spawn(Pump::<C>::new(bench));
            Box::new(context.into_future(handler))
        }));
        match built {
            Ok(handler) => self.state = State::Occupied(handler),
            Err(payload) => self.bury(End::Panicked(payload)),
        }
    }

    /// Whether the handler has ended, after it was polled; and sends off what it has answered.
    fn look_at(
        &mut self,
        polled: Result<Poll<()>, Box<dyn std::any::Any + Send>>,
        context: &mut std::task::Context<'_>,
    ) -> Option<End> {
        let mut bench = self.bench.borrow_mut();
        let end = match polled {
            Err(payload) => Some(End::Panicked(payload)),
            Ok(Poll::Ready(())) => Some(End::StoppedItself),
            Ok(Poll::Pending) => {
                // Registers this task for the answers of what was just begun.
                bench.poll_at_work(context);
                bench.broken.take().map(End::Broken)
            }
        };
        bench.flush();
        if std::mem::take(&mut bench.yielded) || !bench.to_cancel.is_empty() {
            context.waker().wake_by_ref();
        }
        end
    }

    /// Puts the dead handler away and decides when the next one comes.
    fn bury(&mut self, end: End) {
        let (death, unexplained) = match end {
            End::StoppedItself => (Death::StoppedItself, None),
            End::Broken(Broken::Panicked(panic)) => (Death::Panicked(panic), None),
            End::Broken(Broken::Overdue(after)) => (Death::Overdue(after), None),
            End::Panicked(payload) => {
                // Still there if no delivery has testified to it: then nobody knows which one it was.
                let unexplained = panics::take_newest();
                let panic = panics::last().unwrap_or_else(|| Panic::from_payload(payload.as_ref()));
                (Death::Panicked(panic), unexplained)
            }
        };
        self.bench.borrow_mut().next_generation(unexplained);
        self.vacate();
        let wait = self.restarts.note(Instant::now(), fastrand::f64());
        self.deaths.do_send(HandlerDied { death, wait, restarts: self.restarts.total() });
        if !wait.is_zero() {
            self.state = State::Waiting(Box::pin(tokio::time::sleep(wait)));
        }
    }

    /// Drops the handler, whatever its `Drop` does. Terminated first, so that dropping the context does not poll it again.
    fn vacate(&mut self) {
        let State::Occupied(mut handler) = std::mem::replace(&mut self.state, State::Vacant) else {
            return;
        };
        handler.ctx().terminate();
        if catch_unwind(AssertUnwindSafe(|| drop(handler))).is_err() {
            let panic = panics::take_newest().map(|panic| panic.to_string()).unwrap_or_default();
            tracing::error!(channel = C::NAME, panic, "a handler panicked while it was dropped");
        }
    }
}

impl<C, H: Actor<Context = Context<H>>, F> Drop for Cell<C, H, F> {
    fn drop(&mut self) {
        if let State::Occupied(handler) = &mut self.state {
            handler.ctx().terminate();
        }
    }
}
