//! The messages of the actors.

use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::model::outcome::Answer;
use crate::panics::Panic;
use actix::Message;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// The bell: the log may have events. It has no content, and many of them mean the same as one.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Wake;

/// The waiter row of this subscription has to be renewed with the next poll.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct RenewWaiter {
    pub(crate) subscription: i32,
}

/// The process has polled the log for its subscriptions.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct LogPolled {
    /// The subscription may have something to read, although no bell rang.
    pub(crate) unread: bool,
    /// The time at which the statement began that has renewed the waiter row, if it did.
    pub(crate) renewed: Option<Instant>,
}

/// Deliveries are due in the subscription's mailbox.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct MailboxDue {
    /// At least one is ordinary.
    pub(crate) ordinary: bool,
    /// At least one is a suspect: its process died, and it runs alone.
    pub(crate) suspect: bool,
}

/// The mailbox may have changed: the bell rang for it, or this process settled a delivery that is due `after` this long.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct MailboxChanged {
    pub(crate) after: Duration,
}

/// This process was declared dead and has registered again. All its leases are lost.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct ProcessReregistered;

/// A beat of this process has ended: recorded by the database, or not.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct BeatEnded {
    pub(crate) recorded: bool,
}

/// The server crashed, or a standby was promoted, and the last commits may be gone. So the database may still have leases
/// that this process has settled, and may have lost others.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct IncarnationEnded;

/// The answers to deliveries, from the handler's host.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
    /// The deliveries that are done if the transactions in which their handlers settle them were committed.
    pub(crate) unconfirmed: Vec<(LeaseToken, EventId)>,
    /// The time that the handler took for them.
    pub(crate) busy: Duration,
    /// The most deliveries that ever ran at once.
    pub(crate) peak: usize,
}

/// A handler died.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub(crate) struct HandlerDied {
    pub(crate) reason: ExitReason,
    /// The time until it starts again. Until then it takes no deliveries.
    pub(crate) wait: Duration,
    /// All restarts of the handler.
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
    /// It has blocked its thread for longer than this, and is abandoned.
    Blocked(Duration),
    /// Its thread has ended, for instance because the handler has stopped its arbiter.
    ThreadEnded,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(panic) => panic.fmt(f),
            Self::StoppedItself => f.write_str("it stopped itself"),
            Self::TimedOut(after) => write!(f, "its atomic response took longer than {after:?}"),
            Self::Blocked(after) => write!(f, "it has blocked its thread for {after:?}"),
            Self::ThreadEnded => f.write_str("its thread has ended"),
        }
    }
}

/// The host of a handler is gone: its thread has ended, or it has died.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct HandlerGone {
    /// The number of the handler's thread.
    pub(crate) thread: u64,
}

/// A handler that was quarantined has started again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct HandlerRecovered;

/// Claim nothing more, finish the deliveries that have started, return the others, and answer when nothing is held.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub(crate) struct Drain;

/// A command to a handler's host. The dispatcher bounds them: it never has more than `MAX_OUTSTANDING` deliveries out.
#[derive(Debug)]
pub(crate) enum HostCommand {
    /// Handle these, in this order.
    Deliver(Vec<ClaimedEvent>),
    /// Return the deliveries that have not started.
    Recall,
    /// Respond.
    Ping,
    /// Stop the handler. The senders are dropped when it has stopped.
    Stop(Vec<oneshot::Sender<()>>),
}
