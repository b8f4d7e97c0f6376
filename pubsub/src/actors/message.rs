//! What the actors say to each other.

use crate::model::event::ClaimedEvent;
use crate::model::outcome::Answer;
use crate::panics::Panic;
use actix::Message;
use std::fmt;
use std::time::Duration;
use tokio::sync::oneshot;

/// The bell: events may be waiting in the log. Content-free, and any number of them mean the same as one.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

/// Deliveries are due in the subscription's mailbox.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct MailboxDue {
    /// An ordinary one at least.
    pub(crate) ordinary: bool,
    /// A suspect at least: its process died, and it runs alone.
    pub(crate) suspect: bool,
}

/// The mailbox may have changed: somebody rang, or this process settled a delivery that is due `after` this long.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct MailboxChanged {
    pub(crate) after: Duration,
}

/// This process was declared dead and has registered anew: what it held is no longer its own.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct ProcessReregistered;

/// The server crashed, or a standby was promoted: what was committed last may be gone. So the database may hold leases
/// under our name that we have settled, and may know nothing of others.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct IncarnationEnded;

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

/// A handler died.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct HandlerDied {
    pub(crate) reason: ExitReason,
    /// When it starts again; zero is at once. Until then it takes no deliveries.
    pub(crate) wait: Duration,
    /// All its restarts.
    pub(crate) restarts: u64,
}

/// How a handler died.
#[derive(Debug, Clone)]
pub(crate) enum ExitReason {
    /// It panicked.
    Panicked(Panic),
    /// It stopped its context.
    StoppedItself,
    /// Its atomic response took longer than this.
    TimedOut(Duration),
    /// It has blocked its thread for longer than this, and is left behind.
    Blocked(Duration),
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => panic.fmt(f),
            Self::StoppedItself => f.write_str("it stopped itself"),
            Self::TimedOut(after) => write!(f, "its atomic response took longer than {after:?}"),
            Self::Blocked(after) => write!(f, "it has blocked its thread for {after:?}"),
        }
    }
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
pub(crate) enum HostCommand {
    /// Handle these, in this order.
    Deliver(Vec<ClaimedEvent>),
    /// Give back what has not begun.
    Recall,
    /// Give a sign of life.
    Ping,
    /// Stop the handler; whoever waits for it is told by the senders' end.
    Stop(Vec<oneshot::Sender<()>>),
}
