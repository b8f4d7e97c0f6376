//! Decides which waiter row publishers see of this dispatcher: asleep, awake, or none.

use std::time::{Duration, Instant};

/// How long a handler may be full before its process passes the bell on. A handler that soon has room again need not wake
/// another process.
pub(super) const PASS_AFTER: Duration = Duration::from_millis(5);

/// The time for which publishers do not ring after a process has reported that it is awake. If the process hangs in that time,
/// events wait for the poll of another process.
pub(crate) const AWAKE_TTL: Duration = Duration::from_secs(1);

/// The time for which a waiter row counts. If a process hangs asleep, publishers ring for it in vain for this long.
pub(crate) const WAITER_TTL: Duration = Duration::from_secs(10);

/// The waiter row that publishers see of this dispatcher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Row {
    /// There is none. Publishers ring for other processes that sleep.
    #[default]
    None,
    /// Asleep since then. Publishers may ring for this dispatcher.
    Asleep(Instant),
    /// Awake since then. Publishers do not ring.
    Awake(Instant),
}

/// The waiter row, and the change of it that is under way.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    row: Row,
    /// Whether the row is being removed. No row may be written until it is removed.
    removing: bool,
    /// Whether the process was asked to renew the row since it was written or renewed.
    renewal_asked: bool,
    /// The time at which the bell is passed on, if the log still cannot be polled then. Set while publishers rely on this
    /// dispatcher and it cannot poll.
    pass_bell_at: Option<Instant>,
}

impl Waiter {
    pub(super) fn row(&self) -> Row {
        self.row
    }

    pub(super) fn is_removing(&self) -> bool {
        self.removing
    }

    /// Notes that the row is lost, or has an id that the process has lost.
    pub(super) fn lost(&mut self) {
        self.row = Row::None;
    }

    /// Notes that the row shows this dispatcher as asleep since `now`.
    pub(super) fn asleep(&mut self, now: Instant) {
        self.row = Row::Asleep(now);
        self.renewal_asked = false;
    }

    /// Notes that the process has renewed the row, if it shows this dispatcher as asleep, with a statement that began at `began`.
    pub(super) fn renewed(&mut self, began: Instant) {
        if let Row::Asleep(since) = self.row
            && began > since
        {
            self.asleep(began);
        }
    }

    /// Returns whether the process must be asked now to renew the row, which counts as done.
    pub(super) fn asks_for_renewal(&mut self, now: Instant) -> bool {
        let asks = self.ask_at().is_some_and(|at| now >= at);
        self.renewal_asked |= asks;
        asks
    }

    /// Returns the time at which the process must be asked to renew the row.
    pub(super) fn ask_at(&self) -> Option<Instant> {
        match self.row {
            Row::Asleep(since) if !self.renewal_asked => Some(since + WAITER_TTL / 2),
            Row::Asleep(_) | Row::None | Row::Awake(_) => None,
        }
    }

    /// Notes that the log is claimed from. Returns whether the claim has to report, or to report again, that this dispatcher is
    /// awake.
    pub(super) fn claims(&mut self, now: Instant) -> bool {
        self.can_poll();
        let due = match self.row {
            Row::None => false,
            Row::Asleep(_) => true,
            Row::Awake(since) => now.saturating_duration_since(since) > AWAKE_TTL / 2,
        };
        let says_awake = due && !self.removing;
        if says_awake {
            self.row = Row::Awake(now);
        }
        says_awake
    }

    /// Notes that the log can be polled.
    pub(super) fn can_poll(&mut self) {
        self.pass_bell_at = None;
    }

    /// Notes that the log cannot be polled. Returns whether the row must be removed, because this has lasted for [`PASS_AFTER`]
    /// while publishers rely on this dispatcher.
    pub(super) fn cannot_poll(&mut self, log_ready: bool, now: Instant) -> bool {
        match self.row {
            Row::None => false,
            // No publisher has rung.
            Row::Asleep(_) if !log_ready => false,
            Row::Asleep(_) | Row::Awake(_) => now >= *self.pass_bell_at.get_or_insert(now + PASS_AFTER),
        }
    }

    /// Starts to remove the row. Returns false if the removal is under way already.
    pub(super) fn remove(&mut self) -> bool {
        if self.removing {
            return false;
        }
        *self = Self { removing: true, ..Self::default() };
        true
    }

    /// Notes that the row is removed, or expires by itself.
    pub(super) fn removed(&mut self) {
        self.removing = false;
    }

    /// Returns the time at which the answer of [`cannot_poll`](Self::cannot_poll) changes by itself.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.pass_bell_at
    }

    /// Returns the time at which this dispatcher renews the row by itself, because its process has not renewed it. Publishers do not
    /// ring for a row that has expired.
    pub(super) fn renew_at(&self) -> Option<Instant> {
        match self.row {
            Row::Asleep(since) => Some(since + WAITER_TTL * 3 / 4),
            Row::None | Row::Awake(_) => None,
        }
    }
}
