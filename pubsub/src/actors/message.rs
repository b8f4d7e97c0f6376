//! What the actors say to each other.

use crate::model::event::{ClaimedEvent, EventId, Token};
use crate::model::outcome::Outcome;
use crate::panics::Panic;
use actix::Message;
use std::time::Duration;
use tokio::sync::oneshot;

/// The bell: events may be waiting in the log. Content-free, and any number of them mean the same as one.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

/// Deliveries are due in the subscription's mailbox.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct MailboxDue;

/// The mailbox may have changed: somebody rang, or this process settled a delivery that is due `after` this long.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct LookIntoMailbox {
    pub(crate) after: Duration,
}

/// This process was declared dead and has registered anew: what it held is no longer its own.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Rejoined;

/// What became of deliveries, from the cell that ran them.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
    /// How long the handler was at work for them.
    pub(crate) busy: Duration,
    /// Most deliveries that were ever at work at once.
    pub(crate) peak: usize,
}

/// What became of one delivery.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) token: Token,
    pub(crate) event: EventId,
    pub(crate) attempt: u32,
    pub(crate) outcome: Outcome,
}

/// A handler died.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct HandlerDied {
    /// The panic; `None` if the actor stopped by itself.
    pub(crate) panic: Option<Panic>,
    /// When it starts again; zero is at once. Until then it takes no deliveries.
    pub(crate) wait: Duration,
    /// All its restarts.
    pub(crate) restarts: u64,
}

/// A handler that had to wait after its death has started again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct HandlerRecovered;

/// Claim no more, finish what is begun, give back the rest, and answer when nothing is held any more.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// To a handler's cell. Bounded by the dispatcher: it never has more than `MAX_OUTSTANDING` deliveries out.
#[derive(Debug)]
pub(crate) enum CellCommand {
    /// Handle these, in this order.
    Deliver(Vec<ClaimedEvent>),
    /// Give back what has not begun.
    Recall,
    /// Stop the handler; whoever waits for it is told by the senders' end.
    Stop(Vec<oneshot::Sender<()>>),
}
