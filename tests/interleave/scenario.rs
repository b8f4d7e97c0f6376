//! The scenarios: the steps of each session.

use Step::{
    Beat, Claim, ClaimMailbox, ClaimSuspect, Commit, Leave, Open, Publish, Reclaim, Redrive, Reject, Retry,
    Rollback, Seek, Settle, SettleIn, SettleNamed, Silence, Strays,
};

/// One of the two processes of a schedule. Several sessions may act in its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Process {
    One,
    Two,
}

/// One step of a session: a function call, in a transaction of its own unless one is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begins a transaction, takes the step, and leaves the transaction open.
    Open(&'static Self),
    Commit,
    Rollback,
    Publish,
    /// Claims from the log.
    Claim(Process),
    /// Claims from the mailbox, without suspects.
    ClaimMailbox(Process),
    /// Claims a suspect.
    ClaimSuspect(Process),
    /// Settles the process's oldest lease as done. Does nothing if it holds none.
    Settle(Process),
    /// The same, with each event named.
    SettleNamed(Process),
    /// Settles each of its events as a handler does, in its own transaction. The process still holds the lease.
    SettleIn(Process),
    /// Settles it as failed.
    Retry(Process),
    /// Settles it as rejected.
    Reject(Process),
    Beat(Process),
    /// Makes the process silent for too long.
    Silence(Process),
    Reclaim,
    /// The janitor's part of taking over.
    Strays,
    Redrive,
    /// Moves the subscription back to the first event of the schedule.
    Seek,
    Leave(Process),
}

/// The sets of data that a step reads and writes, as bits. Two steps without common data can be swapped. The sets are
/// rather too large than too small.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Touch {
    writes: u32,
    reads: u32,
}

impl Touch {
    const LOG: u32 = 1;
    const MAILBOX: u32 = 2;
    const DEAD_LETTERS: u32 = 4;
    /// The processes that run an ordered subscription, and their lanes.
    const LANES: u32 = 128;

    /// The process's row.
    fn row(process: Process) -> u32 {
        8 << process as u32
    }

    fn leases(process: Process) -> u32 {
        32 << process as u32
    }

    fn of(step: Step, is_ordered: bool) -> Self {
        let everybody = |of: fn(Process) -> u32| of(ONE) | of(TWO);
        let mut writes = match step {
            Open(inner) => return Self::of(*inner, is_ordered),
            Commit | Rollback => 0,
            Publish | Seek => Self::LOG,
            Claim(process) => Self::LOG | Self::leases(process),
            ClaimMailbox(process) | ClaimSuspect(process) => Self::MAILBOX | Self::leases(process),
            Settle(process) | SettleNamed(process) | SettleIn(process) | Retry(process) | Reject(process) => {
                Self::leases(process) | Self::MAILBOX | Self::DEAD_LETTERS
            }
            Beat(process) | Silence(process) => Self::row(process),
            Reclaim | Strays => everybody(Self::row) | everybody(Self::leases) | Self::MAILBOX,
            Redrive => Self::MAILBOX | Self::DEAD_LETTERS,
            Leave(process) => Self::row(process) | Self::leases(process) | Self::MAILBOX,
        };
        let mut reads = match step {
            Claim(process) | ClaimMailbox(process) | ClaimSuspect(process) => Self::row(process),
            _ => 0,
        };
        if is_ordered {
            match step {
                // In an ordered subscription, it may get lanes, reads the leases of others in them, and parks.
                Claim(_) | ClaimMailbox(_) | ClaimSuspect(_) => {
                    writes |= Self::LANES | Self::MAILBOX;
                    reads |= everybody(Self::leases);
                }
                Reclaim | Leave(_) => writes |= Self::LANES,
                _ => {}
            }
        }
        Self { writes, reads }
    }

    /// The data that each step of a script touches. The end of a transaction touches the data of all its steps.
    pub(crate) fn of_script(script: &[Step], is_ordered: bool) -> Vec<Self> {
        let mut open: Option<Self> = None;
        let touch = |step: &Step| {
            let mut touch = Self::of(*step, is_ordered);
            match step {
                Open(_) => open = Some(touch),
                Commit | Rollback => touch = open.take().unwrap_or_default(),
                _ => open = open.map(|open| open.and(touch)),
            }
            touch
        };
        script.iter().map(touch).collect()
    }

    fn and(self, other: Self) -> Self {
        Self { writes: self.writes | other.writes, reads: self.reads | other.reads }
    }

    /// Whether one step writes data that the other touches.
    pub(crate) fn meets(self, other: Self) -> bool {
        self.writes & (other.writes | other.reads) != 0 || self.reads & other.writes != 0
    }
}

const ONE: Process = Process::One;
const TWO: Process = Process::Two;

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// One in this many of the distinct schedules is run, unless all are requested.
    pub(crate) every: usize,
    /// Whether the subscription is ordered. All events have one key.
    pub(crate) is_ordered: bool,
    /// Steps that are taken one after the other before the sessions begin.
    pub(crate) prologue: &'static [Step],
    pub(crate) sessions: [&'static [Step]; 3],
}

/// A process is taken over while it claims, beats and settles, and while others publish and claim.
pub(crate) const TAKEOVER: Scenario = Scenario {
    name: "takeover",
    every: 3,
    is_ordered: false,
    prologue: &[Publish],
    sessions: [
        &[Open(&Claim(ONE)), Commit, Beat(ONE), Settle(ONE)],
        &[Silence(ONE), Open(&Reclaim), Commit, ClaimSuspect(TWO)],
        &[Open(&Publish), Commit, Claim(TWO), Settle(TWO)],
    ],
};

/// A settlement is in progress while its process is taken over.
pub(crate) const SETTLEMENT: Scenario = Scenario {
    name: "settlement",
    every: 3,
    is_ordered: false,
    prologue: &[Publish, Claim(ONE)],
    sessions: [
        &[Open(&SettleNamed(ONE)), Commit, Claim(ONE), Settle(ONE)],
        &[Silence(ONE), Open(&Reclaim), Commit, Strays],
        &[Publish, Open(&ClaimSuspect(TWO)), Commit, Settle(TWO)],
    ],
};

/// A handler settles its delivery in its own transaction while its process is taken over.
pub(crate) const OWN_TRANSACTION: Scenario = Scenario {
    name: "own transaction",
    every: 3,
    is_ordered: false,
    prologue: &[Publish, Claim(ONE)],
    sessions: [
        &[Open(&SettleIn(ONE)), Commit, Claim(ONE), Retry(ONE)],
        &[Silence(ONE), Open(&Reclaim), Commit, Strays],
        &[Publish, Open(&ClaimSuspect(TWO)), Commit, SettleIn(TWO)],
    ],
};

/// A handler settles its delivery in its own transaction while its process gives up on it.
pub(crate) const TIMEOUT: Scenario = Scenario {
    name: "timeout",
    every: 39,
    is_ordered: true,
    prologue: &[Publish, Claim(ONE), Retry(ONE), ClaimMailbox(ONE), Publish],
    sessions: [
        &[Open(&SettleIn(ONE)), Commit, ClaimMailbox(ONE), SettleIn(ONE)],
        &[Open(&Retry(ONE)), Commit, Claim(ONE), Settle(ONE)],
        &[ClaimMailbox(ONE), Silence(ONE), Open(&Reclaim), Commit],
    ],
};

/// Claims over transactions in flight. Some claims are rolled back.
pub(crate) const CURSOR: Scenario = Scenario {
    name: "cursor",
    every: 6,
    is_ordered: false,
    prologue: &[Publish],
    sessions: [
        &[Open(&Publish), Publish, Commit, Publish],
        &[Open(&Claim(ONE)), Commit, Claim(ONE), Settle(ONE)],
        &[Open(&Claim(TWO)), Rollback, Claim(TWO), Settle(TWO)],
    ],
};

/// A dead letter is redriven twice at once, and handled, while a process is taken over.
pub(crate) const DEAD_LETTERS: Scenario = Scenario {
    name: "dead letters",
    every: 39,
    is_ordered: false,
    prologue: &[Publish, Claim(ONE), Reject(ONE)],
    sessions: [
        &[Open(&Redrive), Commit, ClaimMailbox(ONE), Settle(ONE)],
        &[Open(&Redrive), Rollback, ClaimMailbox(TWO), Retry(TWO)],
        &[Silence(ONE), Open(&Reclaim), Commit, ClaimMailbox(TWO)],
    ],
};

/// Two processes share a mailbox, and one of them leaves or dies.
pub(crate) const MAILBOX: Scenario = Scenario {
    name: "mailbox",
    every: 69,
    is_ordered: false,
    prologue: &[Publish, Claim(ONE), Retry(ONE)],
    sessions: [
        &[Open(&ClaimMailbox(ONE)), Commit, Settle(ONE), Leave(ONE)],
        &[Open(&ClaimMailbox(TWO)), Commit, Reject(TWO), Redrive],
        &[Silence(ONE), Open(&Reclaim), Commit, ClaimSuspect(TWO)],
    ],
};

/// The subscription is moved back while its events are published, claimed, redriven and taken over.
pub(crate) const SEEK: Scenario = Scenario {
    name: "seek",
    every: 3,
    is_ordered: false,
    prologue: &[Publish, Claim(ONE), Reject(ONE)],
    sessions: [
        &[Open(&Seek), Commit, Claim(ONE), Retry(ONE)],
        &[Open(&Publish), Commit, Claim(TWO), Settle(TWO)],
        &[Redrive, Silence(ONE), Open(&Reclaim), Commit],
    ],
};

/// An event fails while later ones of its key are published and claimed, and its lane moves to a process that joins.
pub(crate) const ORDER: Scenario = Scenario {
    name: "order",
    every: 39,
    is_ordered: true,
    prologue: &[Publish, Claim(ONE), Publish],
    sessions: [
        &[Open(&Retry(ONE)), Commit, ClaimMailbox(ONE), Settle(ONE)],
        &[Open(&Claim(TWO)), Commit, ClaimMailbox(TWO), Settle(TWO)],
        &[Publish, Open(&Claim(ONE)), Commit, Claim(TWO)],
    ],
};

/// A process that holds several events of a key is taken over.
pub(crate) const SUCCESSION: Scenario = Scenario {
    name: "succession",
    every: 11,
    is_ordered: true,
    prologue: &[Publish, Publish, Claim(ONE)],
    sessions: [
        &[Open(&Reject(ONE)), Commit, Claim(ONE), Settle(ONE)],
        &[Silence(ONE), Open(&Reclaim), Commit, ClaimSuspect(TWO)],
        &[Publish, Open(&Claim(TWO)), Commit, Settle(TWO)],
    ],
};

pub(crate) const ALL: [&Scenario; 10] = [
    &TAKEOVER,
    &SETTLEMENT,
    &OWN_TRANSACTION,
    &TIMEOUT,
    &CURSOR,
    &DEAD_LETTERS,
    &MAILBOX,
    &SEEK,
    &ORDER,
    &SUCCESSION,
];
