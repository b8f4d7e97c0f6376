//! The steps that a dispatcher performs, and the answers that it reports.

use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::policy::leases::Settlement;
use std::time::{Duration, Instant};

/// The next thing that the dispatcher does.
#[derive(Debug)]
pub(crate) enum Step {
    /// Ask the database. There is never more than one query at a time; its end is reported with `completed` or
    /// `query_failed`.
    Query(Query),
    /// Remove the waiter row, which passes the bell on. Its end is reported with `waiter_removed`.
    RemoveWaiter,
    /// Write these outcomes. Its end is reported with `settled` or `settlement_failed`.
    Settle(Settlement),
    /// Hand these events to the handler. If it cannot take them they come back with `not_delivered`.
    Deliver(Vec<ClaimedEvent>),
    /// Ask the handler's host to give back what has not started.
    Recall,
    /// Leave the lanes of an ordered subscription to the other processes.
    LeaveLanes,
    /// Tell the scheduler that a delivery is due in the mailbox after this long.
    MailboxChanged { after: Duration },
    /// Ask the handler's host to respond; `pinged` says that it was asked.
    Ping,
    /// Report a handler that has not responded for this long.
    HandlerUnresponsive { silent: Duration },
    /// Report that a handler which was reported as unresponsive responds again.
    HandlerResponsive,
    /// Start another handler on a fresh thread; then `handler_abandoned` says so.
    ReplaceHandler { silent: Duration },
    /// Report, once for each version, that events wait in the mailbox for a process that knows it.
    VersionTooNew { version: i32, events: usize },
    /// Stop the handler: the drain is over.
    StopHandler,
    /// Nothing to do before this instant, or before the next message.
    Wait { until: Option<Instant> },
}

/// A question to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Query {
    /// Give back every claim under this process's name that the dispatcher does not know of.
    ReturnUnknownClaims,
    /// Claim one suspect from the mailbox.
    ClaimSuspect,
    /// Claim from the mailbox.
    ClaimMailbox(ClaimSize),
    /// Claim from the log. `says_awake`: also tell publishers that they need not ring for a while.
    ClaimLog { size: ClaimSize, says_awake: bool },
    /// Ask whether nobody is in the middle of a publish, then claim from the log. `registers`: write the waiter row first.
    ClaimIfQuiet { size: ClaimSize, registers: bool },
    /// Claim from the log, unless another process does: in case a bell was lost. `renews`: renew the waiter row first.
    Poll { size: ClaimSize, renews: bool },
}

impl Query {
    /// Whether it claims from the mailbox.
    pub(super) fn is_from_mailbox(self) -> bool {
        matches!(self, Self::ClaimSuspect | Self::ClaimMailbox(_))
    }

    /// How many of the events claimed before an event of this claim may be unsettled when it starts.
    pub(super) fn start_limit(self) -> usize {
        match self {
            Self::ClaimMailbox(size)
            | Self::ClaimLog { size, .. }
            | Self::ClaimIfQuiet { size, .. }
            | Self::Poll { size, .. } => size.start_limit,
            // A suspect is claimed when it may start.
            Self::ClaimSuspect | Self::ReturnUnknownClaims => usize::MAX,
        }
    }
}

/// How much to claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClaimSize {
    /// Most events.
    pub(crate) batch: usize,
    /// Each event starts only while fewer than this many of those claimed before it are unsettled.
    pub(crate) start_limit: usize,
}

/// The database's answer to a query.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// The events of a claim.
    Claimed(Vec<ClaimedEvent>),
    /// The events of a claim, and whether nobody was in the middle of a publish before it.
    ClaimedIfQuiet { events: Vec<ClaimedEvent>, quiet: bool },
    /// How many deliveries were given back.
    Returned(i64),
}

/// The end of one delivery's start, for logs and figures.
#[derive(Debug, PartialEq)]
pub(crate) struct Conclusion {
    pub(crate) token: LeaseToken,
    pub(crate) event: EventId,
    pub(crate) end: End,
}

/// How one start of a delivery ended.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Handled {
        attempt: u32,
    },
    /// Given back without having started.
    Returned {
        attempt: u32,
    },
    Snoozed {
        attempt: u32,
        delay: Duration,
    },
    Failed {
        attempt: u32,
        error: String,
        delay: Duration,
    },
    GivenUp {
        attempt: u32,
        error: String,
    },
    /// Left to a process that knows the event's version.
    TooNew {
        error: String,
    },
    /// The answer came after the lease was lost.
    LeaseLost,
}
