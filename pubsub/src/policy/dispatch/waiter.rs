//! Decides what publishers know of this dispatcher: its waiter row, asleep, awake, or none.

use std::time::{Duration, Instant};

/// How long a handler may be full before its process passes the bell on. A handler that soon has room again need not wake
/// another process.
pub(super) const PASS_AFTER: Duration = Duration::from_millis(5);

/// How long publishers need not ring after a process has said that it is awake. If it dies in that time, events wait for the
/// poll of the others.
pub(crate) const AWAKE_TTL: Duration = Duration::from_secs(1);

/// How long a waiter row counts. A process that dies asleep makes publishers ring for nobody for this long.
pub(crate) const WAITER_TTL: Duration = Duration::from_secs(10);

/// The waiter row: what publishers know of this dispatcher.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Row {
    /// There is none. They ring for others that sleep.
    #[default]
    None,
    /// It has been asleep since then, and may be rung for.
    Asleep(Instant),
    /// It has been awake since then, and they need not ring.
    Awake(Instant),
}

/// The waiter row, and what is under way with it.
#[derive(Debug, Default)]
pub(super) struct Waiter {
    row: Row,
    /// The row is being removed; until it is gone, none may be written.
    removing: bool,
    /// The log cannot be polled, although publishers rely on that. If it cannot be polled at this time either, the bell is
    /// passed on.
    pass_bell_at: Option<Instant>,
}

impl Waiter {
    pub(super) fn row(&self) -> Row {
        self.row
    }

    pub(super) fn is_removing(&self) -> bool {
        self.removing
    }

    /// The row is gone, or stands under an id that the process has lost.
    pub(super) fn lost(&mut self) {
        self.row = Row::None;
    }

    /// The row says since `now` that this dispatcher sleeps.
    pub(super) fn asleep(&mut self, now: Instant) {
        self.row = Row::Asleep(now);
    }

    /// The log is claimed from now. Returns whether the claim has to say, or say again, that this dispatcher is awake.
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

    /// The log can be polled.
    pub(super) fn can_poll(&mut self) {
        self.pass_bell_at = None;
    }

    /// The log cannot be polled now. Returns whether the row must be removed: publishers rely on this dispatcher, and it has
    /// been like that for long enough that they must rely on another.
    pub(super) fn cannot_poll(&mut self, log_ready: bool, now: Instant) -> bool {
        match self.row {
            Row::None => false,
            // Nobody has rung.
            Row::Asleep(_) if !log_ready => false,
            Row::Asleep(_) | Row::Awake(_) => now >= *self.pass_bell_at.get_or_insert(now + PASS_AFTER),
        }
    }

    /// The row is to be removed. Returns whether that is not under way yet.
    pub(super) fn remove(&mut self) -> bool {
        if self.removing {
            return false;
        }
        *self = Self { removing: true, ..Self::default() };
        true
    }

    /// The row is gone, or expires by itself.
    pub(super) fn removed(&mut self) {
        self.removing = false;
    }

    /// When the answer of [`cannot_poll`](Self::cannot_poll) changes by itself.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.pass_bell_at
    }
}
