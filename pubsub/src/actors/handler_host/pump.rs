//! Starts deliveries inside the user's actor.
//!
//! The pump is a future in the actor's own context, where it has access to the actor and the context. It calls `handle` as
//! actix would, but it sees a panic, knows which deliveries have started, and needs no place in the actor's mailbox.

use super::in_flight::{InFlight, ReplaceReason};
use super::running::{Limit, RunningDelivery};
use crate::actors::handler_link::HandlerConfig;
use crate::contract::older_version::DecodeError;
use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::model::event::ClaimedEvent;
use crate::model::outcome::Outcome;
use crate::model::payload::undecodable;
use crate::panics::{self, Panic};
use actix::dev::MessageResponse;
use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, Handler};
use std::cell::RefCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The number of deliveries that start before other tasks of the arbiter run and the answers are sent.
const BUDGET: usize = 128;

/// The same limit as a time, for handlers that take long in `handle` itself.
const SLICE: Duration = Duration::from_millis(5);

pub(super) struct Pump<C> {
    in_flight: Rc<RefCell<InFlight>>,
    channel: PhantomData<fn() -> C>,
}

impl<C> Pump<C> {
    pub(super) fn new(in_flight: Rc<RefCell<InFlight>>) -> Self {
        Self { in_flight, channel: PhantomData }
    }
}

impl<C, H> ActorFuture<H> for Pump<C>
where
    C: Channel,
    H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
{
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        handler: &mut H,
        context: &mut Context<H>,
        _: &mut std::task::Context<'_>,
    ) -> Poll<()> {
        let began = Instant::now();
        for _ in 0..BUDGET {
            // An actor that waits for an atomic response, or stops, takes no more deliveries.
            if context.waiting()
                || self.in_flight.borrow().replace.is_some()
                || !self.in_flight.borrow().has_free_slot()
            {
                return Poll::Pending;
            }
            let Some(event) = self.in_flight.borrow_mut().queue.pop_front() else {
                return Poll::Pending;
            };
            self.start(event, handler, context);
            if began.elapsed() > SLICE {
                break;
            }
        }
        self.in_flight.borrow_mut().yielded = true;
        Poll::Pending
    }
}

impl<C: Channel> Pump<C> {
    fn start<H>(&self, event: ClaimedEvent, handler: &mut H, context: &mut Context<H>)
    where
        H: Handler<Delivery<C>> + Actor<Context = Context<H>>,
    {
        let (token, id) = (event.token, event.id);
        let (subscription, process, timeout, generation) = {
            let mut in_flight = self.in_flight.borrow_mut();
            in_flight.starting(id);
            let HandlerConfig { settings, process, .. } = &in_flight.config;
            (Arc::clone(&settings.name), process.clone(), settings.timeout, in_flight.generation())
        };
        let mut report = None;
        // `in_flight` is not borrowed while the user's code runs.
        let started = catch_unwind(AssertUnwindSafe(|| {
            let (delivery, probe_report) = Delivery::<C>::decode(event, subscription, process)?;
            report = Some(probe_report);
            let span = delivery.span().clone();
            let _entered = span.enter();
            let (answer, answered) = oneshot::channel();
            let response = handler.handle(delivery, context);
            let respond = |context: &mut Context<H>| response.handle(context, Some(answer));
            let limit = match timeout {
                Some(after) => Some(Limit::start(after, context, respond)),
                None => {
                    respond(context);
                    None
                }
            };
            Ok::<_, DecodeError>((answered, limit))
        }));
        let mut in_flight = self.in_flight.borrow_mut();
        match (started, report) {
            (Ok(Ok((answer, limit))), Some(report)) => {
                in_flight.keep(RunningDelivery { token, event: id, generation, report, answer, limit });
            }
            (Ok(Ok(_)), None) => unreachable!("a delivery that was handled was decoded"),
            (Ok(Err(error)), _) => {
                in_flight.answer(token, id, Outcome::Undecodable { error: undecodable(&error) });
            }
            (Err(payload), report) => {
                let panic = report
                    .and_then(|report| report.panic().cloned())
                    .or_else(panics::take_newest)
                    .unwrap_or_else(|| Panic::from_payload(payload.as_ref()));
                in_flight.replace = Some(ReplaceReason::Panicked(panic.clone()));
                in_flight.answer(token, id, Outcome::Panicked(panic));
            }
        }
    }
}
