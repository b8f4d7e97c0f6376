//! The steps that a dispatcher performs, and the answers that it reports.

use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::policy::leases::Settlement;
use std::time::{Duration, Instant};

/// The next thing that the dispatcher does.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send a query to the database. There is never more than one query at a time. `completed` or `query_failed` reports its
    /// end.
    Query(Query),
    /// Remove the waiter row, which passes the bell on. `waiter_removed` reports the end.
    RemoveWaiter,
    /// Ask the process to renew the waiter row with its next poll. `polled` reports that it has.
    RenewWaiter,
    /// Write these outcomes. `settled` or `settlement_failed` reports the end.
    Settle(Settlement),
    /// Hand these events to the handler. `not_delivered` reports that it cannot take them.
    Deliver(Vec<ClaimedEvent>),
    /// Ask the handler's host to return the deliveries that have not started.
    Recall,
    /// Leave the lanes of an ordered subscription to other processes.
    LeaveLanes,
    /// Tell the scheduler that a delivery is due in the mailbox after this long.
    MailboxChanged { after: Duration },
    /// Ask the handler's host to respond. `pinged` reports that it was asked.
    Ping,
    /// Report a handler that has not responded for this long.
    HandlerUnresponsive { silent: Duration },
    /// Report that an unresponsive handler responds again.
    HandlerResponsive,
    /// Start another handler on a fresh thread. `handler_abandoned` reports that it has started.
    ReplaceHandler { silent: Duration },
    /// Report, once for each version, that events wait in the mailbox for a process that knows it.
    VersionTooNew { version: i32, events: usize },
    /// Stop the handler: the drain is over.
    StopHandler,
    /// Wait until this instant, or until the next message.
    Wait { until: Option<Instant> },
}

/// A question to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Query {
    /// Return every lease under this process's id that the dispatcher does not know.
    ReturnUnknownClaims,
    /// Claim suspects from the mailbox that may run together, often only one.
    ClaimSuspects(ClaimSize),
    /// Claim from the mailbox.
    ClaimMailbox(ClaimSize),
    /// Claim from the log. `says_awake`: also tell publishers that they need not ring for a while.
    ClaimLog { size: ClaimSize, says_awake: bool },
    /// Ask whether no publisher is at work, then claim from the log. `registers`: write the waiter row first.
    ClaimIfQuiet { size: ClaimSize, registers: bool },
    /// Claim from the log unless another process does, because the process's poll has found something: a bell was lost. `renews`:
    /// renew the waiter row first.
    Poll { size: ClaimSize, renews: bool },
}

impl Query {
    /// Whether it claims from the mailbox.
    pub(super) fn is_from_mailbox(self) -> bool {
        matches!(self, Self::ClaimSuspects(_) | Self::ClaimMailbox(_))
    }

    /// Returns the size of a claim of many events.
    pub(super) fn size(self) -> Option<ClaimSize> {
        match self {
            Self::ClaimSuspects(size)
            | Self::ClaimMailbox(size)
            | Self::ClaimLog { size, .. }
            | Self::ClaimIfQuiet { size, .. }
            | Self::Poll { size, .. } => Some(size),
            Self::ReturnUnknownClaims => None,
        }
    }

    /// Returns the start limit of the events of this claim. See [`ClaimSize::start_limit`].
    pub(super) fn start_limit(self) -> usize {
        self.size().map_or(usize::MAX, |size| size.start_limit)
    }
}

/// The size of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClaimSize {
    /// The most events to claim.
    pub(crate) batch: usize,
    /// The bytes after which no further event is claimed.
    pub(crate) bytes: usize,
    /// The start limit: an event starts only while fewer than this many of the events claimed before it are unsettled.
    pub(crate) start_limit: usize,
}

/// The database's answer to a query.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    /// The events of a claim.
    Claimed(Vec<ClaimedEvent>),
    /// The events of a claim, and whether no publisher was at work before it.
    ClaimedIfQuiet { events: Vec<ClaimedEvent>, quiet: bool },
    /// The number of deliveries that were returned.
    Returned(i64),
}

impl Reply {
    /// Returns the events of a claim.
    pub(super) fn events(&self) -> &[ClaimedEvent] {
        match self {
            Self::Claimed(events) | Self::ClaimedIfQuiet { events, .. } => events,
            Self::Returned(_) => &[],
        }
    }
}

/// The end of one delivery's start, for logs and figures.
#[derive(Debug, PartialEq)]
pub(crate) struct Conclusion {
    pub(crate) token: LeaseToken,
    pub(crate) event: EventId,
    pub(crate) end: End,
}

/// The end of one start of a delivery.
#[derive(Debug, PartialEq)]
pub(crate) enum End {
    Handled {
        attempt: u32,
    },
    /// Returned to the mailbox before it started.
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
        /// Whether its last attempt has failed. Otherwise it was rejected, or cannot be decoded.
        failed: bool,
    },
    /// Left to a process that knows the event's version.
    TooNew {
        error: String,
    },
    /// The answer came after the lease was lost.
    LeaseLost,
}
