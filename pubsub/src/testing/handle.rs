//! Handlers that a test calls, without a database and without a runtime.

use crate::model::channel::Channel;
use crate::model::delivery::Delivery;
use crate::model::failure::Handled;
use crate::model::probe::Report;
use crate::panics;
use actix::dev::MessageResponse;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use std::time::Duration;
use tokio::sync::oneshot;

/// The longest wait for a handler's answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hands a delivery to a handler and returns its answer, without a database. [`Delivery::of`] makes the delivery.
///
/// The handler is `&mut actor`, whose fields the test can look at afterwards, or the address of an actor that was started. The test
/// runs in an actix system (`#[actix::test]`). A handler that is a function is simply called: `send(Delivery::of(sms)).await`.
///
/// With `&mut actor`, `started` of the actor is not called, and nothing that it spawns in its context runs. A handler that answers with
/// `ResponseActFuture` or `AtomicResponse`, or that sends itself messages, needs `&actor.start()`.
///
/// The subscription's timeout does not apply. Nothing is retried: the answer says what would happen, and its text is the same for
/// the same [`Failure`](crate::Failure).
///
/// # Panics
/// If the handler panics, drops the delivery without an answer, or has not answered after 60 s; or if it answers with a future of its
/// actor although it was called with `&mut actor`.
///
/// # Cancel safety
/// Dropping the future leaves a handler that has not answered running.
///
/// # Examples
/// ```
/// use actix::{Actor, Context, Handler};
/// use pubsub::{Channel, Delivery, Failure, Handled, testing};
/// # use serde::{Deserialize, Serialize};
///
/// # #[derive(Serialize, Deserialize, Channel)]
/// # #[channel("sms")]
/// # struct Sms { receiver: String }
/// #[derive(Default)]
/// struct Twilio {
///     sent: u32,
/// }
///
/// impl Actor for Twilio {
///     type Context = Context<Self>;
/// }
///
/// impl Handler<Delivery<Sms>> for Twilio {
///     type Result = Handled;
///
///     fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Handled {
///         if sms.receiver.is_empty() {
///             return Err(Failure::reject("nobody to send it to"));
///         }
///         self.sent += 1;
///         Ok(())
///     }
/// }
///
/// # actix::System::new().block_on(async {
/// let mut twilio = Twilio::default();
/// let delivery = Delivery::of(Sms { receiver: "+4930123".into() });
/// assert!(testing::handle(&mut twilio, delivery).await.is_ok());
/// assert_eq!(twilio.sent, 1);
///
/// let failure = testing::handle(&mut twilio, Delivery::of(Sms { receiver: String::new() })).await.unwrap_err();
/// assert_eq!(failure.to_string(), "reject: nobody to send it to");
/// # });
/// ```
pub async fn handle<C: Channel>(handler: impl HandlerOf<C>, delivery: Delivery<C>) -> Handled {
    panics::watch_this_thread();
    let (report, noted) = (delivery.report(), panics::noted());
    let hint = hint(&handler);
    let Ok(answer) = tokio::time::timeout(PATIENCE, handler.answer(delivery)).await else {
        panic!("the handler of channel `{}` has not answered after {PATIENCE:?}{hint}", C::NAME);
    };
    answer.unwrap_or_else(|Unanswered| panic!("{}", unanswered::<C>(&report, noted)))
}

/// A handler that [`handle`] takes: `&mut actor`, or the address of an actor.
///
/// This trait is sealed: only this crate implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not handle the events of channel `{C}`",
    label = "neither `&mut actor` nor the address of an actor with `Handler<Delivery<{C}>>`",
    note = "pass `&mut actor`, or `&actor.start()`; a function is called without `handle`"
)]
pub trait HandlerOf<C>: sealed::HandlerOf<C> {}

/// The end of a handler that gives no answer.
#[derive(Debug)]
pub struct Unanswered;

mod sealed {
    use super::Unanswered;
    use crate::model::delivery::Delivery;
    use crate::model::failure::Handled;

    pub trait HandlerOf<C> {
        /// Completes the sentence that there is no answer.
        const HINT: &'static str;

        fn answer(self, delivery: Delivery<C>) -> impl Future<Output = Result<Handled, Unanswered>>;
    }
}

impl<C, A> HandlerOf<C> for &mut A
where
    C: Channel,
    A: Handler<Delivery<C>> + Actor<Context = Context<A>>,
{
}

impl<C, A> sealed::HandlerOf<C> for &mut A
where
    C: Channel,
    A: Handler<Delivery<C>> + Actor<Context = Context<A>>,
{
    const HINT: &'static str =
        "; if it waits for a message to itself, pass `&actor.start()` instead of `&mut actor`";

    async fn answer(self, delivery: Delivery<C>) -> Result<Handled, Unanswered> {
        let mut context = Context::new();
        let span = delivery.span().clone();
        let (answer, mut answered) = oneshot::channel();
        let response = span.in_scope(|| self.handle(delivery, &mut context));
        let waited = context.waiting();
        // Handles are numbered: if the response spawns a future of the actor, its handle lies between these two.
        let before = context.spawn(actix::fut::ready(()));
        span.in_scope(|| response.handle(&mut context, Some(answer)));
        let after = context.spawn(actix::fut::ready(()));
        if let Ok(handled) = answered.try_recv() {
            return Ok(handled);
        }
        assert!(
            before.next() == after && context.waiting() == waited,
            "the handler of channel `{}` answers with a future of its actor, which only an actor that was started can run: pass \
             `&actor.start()` instead of `&mut actor`",
            C::NAME
        );
        answered.await.map_err(|_| Unanswered)
    }
}

impl<C, A> HandlerOf<C> for &Addr<A>
where
    C: Channel,
    A: Handler<Delivery<C>> + Actor<Context = Context<A>>,
{
}

impl<C, A> sealed::HandlerOf<C> for &Addr<A>
where
    C: Channel,
    A: Handler<Delivery<C>> + Actor<Context = Context<A>>,
{
    const HINT: &'static str = "";

    async fn answer(self, delivery: Delivery<C>) -> Result<Handled, Unanswered> {
        self.send(delivery).await.map_err(|_| Unanswered)
    }
}

fn hint<C, H: HandlerOf<C>>(_: &H) -> &'static str {
    H::HINT
}

/// Says why there is no answer. Before the call, `noted` panics had happened on this thread.
fn unanswered<C: Channel>(report: &Report, noted: u64) -> String {
    let channel = C::NAME;
    if let Some(panic) = report.panic() {
        return format!("the handler of channel `{channel}` {panic}");
    }
    let dropped = format!("the handler of channel `{channel}` has dropped the delivery without an answer");
    // The delivery may have been dropped before the future that has panicked.
    match panics::last().filter(|_| panics::noted() > noted) {
        Some(panic) => format!("{dropped}, and its thread has {panic}"),
        None => dropped,
    }
}
