//! The kinds of faults.

use crate::proxy::{Action, Trap};
use crate::wire::{Direction, Role};
use fastrand::Rng;
use std::time::Duration;

/// A kind of the server's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Heartbeat,
    Listener,
    Pool,
    Publisher,
}

/// The fault at a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AtMessage {
    Cut,
    Stall,
    Delay,
    KillWorker,
}

/// A fault. Workers are named by their index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Fault {
    /// Nothing, for comparison.
    None,
    /// SIGKILL.
    KillWorker(usize),
    /// SIGSTOP, and SIGCONT after the hold.
    FreezeWorker(usize),
    /// SIGTERM, which drains, and a new process.
    DrainWorker(usize),
    /// SIGKILL, and a process of the old release in its place for the hold.
    OldRelease(usize),
    /// A panic in one of the runtime's own actors.
    PanicActor(usize),
    /// An event that aborts the process of its handler, three times for each subscription.
    Poison,
    /// An immediate stop of the server, and its start after the hold.
    CrashServer,
    /// A fast stop of the server, and its start after the hold.
    RestartServer,
    /// SIGKILL of one backend: the server restarts itself.
    KillBackend,
    /// SIGSTOP of the server and all its backends.
    FreezeServer,
    /// SIGSTOP of the process that accepts connections.
    FreezePostmaster,
    /// SIGSTOP of all backends of a kind.
    FreezeBackends(Backend),
    /// `pg_terminate_backend`.
    Terminate(Backend),
    /// `pg_cancel_backend` of every session.
    CancelStatements,
    /// Another session holds the tables of leases and of the mailbox for the hold.
    LockTables,
    /// The next transactions may only read.
    ReadOnly,
    /// Every connection of a worker is reset for the hold, or of all workers and publishers.
    Cut(Option<usize>),
    /// No message of a worker passes during the hold, and its connections stay open.
    Stall(Option<usize>),
    /// A fault at one message of a worker, or of the publishers.
    At {
        worker: Option<usize>,
        what: AtMessage,
        direction: Direction,
        role: Option<Role>,
        after: u32,
        forward: bool,
    },
    SwallowNotifications,
    RepeatNotifications,
    /// Thousands of false notifications.
    ForgeNotifications,
    /// A listener's connection of 1 kB/s.
    SlowListener(usize),
    /// The server's clock is this many minutes off for the hold. Only where it can be set.
    JumpClock(i32),
    /// Every packet of a worker is dropped, in both directions. Only where it has a network of its own.
    PullCable(usize),
    /// The disk of the database's files is full for the hold. Only where the arena has a small one.
    FullDisk,
    /// A session that listens stays in its transaction for the hold, and the queue of notifications is full. Only where the server has
    /// a small one.
    FullQueue,
    /// The server dies, and a standby that has every acknowledged commit takes its place.
    PromoteSync,
    /// The server dies, and a standby that lacks the last commits takes its place.
    PromoteAsync,
}

/// Draws the particulars of a fault, for this number of workers.
type Draw = fn(&mut Rng, usize) -> Fault;

/// The faults that a plan draws from, with their weights.
const WEIGHTS: [(u32, Draw); 33] = [
    (3, |_, _| Fault::None),
    (10, |rng, workers| Fault::KillWorker(rng.usize(..workers))),
    (4, |rng, workers| Fault::FreezeWorker(rng.usize(..workers))),
    (4, |rng, workers| Fault::DrainWorker(rng.usize(..workers))),
    (4, |rng, workers| Fault::OldRelease(rng.usize(..workers))),
    (2, |_, _| Fault::LockTables),
    (5, |rng, workers| Fault::PanicActor(rng.usize(..workers))),
    (1, |_, _| Fault::Poison),
    (6, |_, _| Fault::CrashServer),
    (3, |_, _| Fault::RestartServer),
    (4, |_, _| Fault::KillBackend),
    (2, |_, _| Fault::FreezeServer),
    (1, |_, _| Fault::FreezePostmaster),
    (1, |_, _| Fault::FreezeBackends(Backend::Heartbeat)),
    (1, |_, _| Fault::FreezeBackends(Backend::Listener)),
    (1, |_, _| Fault::FreezeBackends(Backend::Pool)),
    (4, |_, _| Fault::Terminate(Backend::Heartbeat)),
    (4, |_, _| Fault::Terminate(Backend::Listener)),
    (4, |_, _| Fault::Terminate(Backend::Pool)),
    (2, |_, _| Fault::Terminate(Backend::Publisher)),
    (4, |_, _| Fault::CancelStatements),
    (3, |_, _| Fault::ReadOnly),
    (4, |rng, workers| Fault::Cut(Some(rng.usize(..workers)))),
    (3, |_, _| Fault::Cut(None)),
    (2, |rng, workers| Fault::Stall(Some(rng.usize(..workers)))),
    (1, |_, _| Fault::Stall(None)),
    (30, |rng, workers| at_message(rng, Some(workers))),
    (6, |rng, _| at_message(rng, None)),
    (3, |_, _| Fault::SwallowNotifications),
    (2, |_, _| Fault::RepeatNotifications),
    (2, |_, _| Fault::ForgeNotifications),
    (2, |rng, workers| Fault::SlowListener(rng.usize(..workers))),
    (1, |rng, _| if rng.bool() { Fault::PromoteSync } else { Fault::PromoteAsync }),
];

fn at_message(rng: &mut Rng, workers: Option<usize>) -> Fault {
    let worker = workers.map(|workers| rng.usize(..workers));
    let what = match (rng.u32(..10), worker) {
        (0, _) => AtMessage::Stall,
        (1..=2, _) => AtMessage::Delay,
        (3..=5, Some(_)) => AtMessage::KillWorker,
        _ => AtMessage::Cut,
    };
    let direction = if rng.bool() { Direction::ToServer } else { Direction::ToClient };
    let roles = [None, Some(Role::Pool), Some(Role::Heartbeat), Some(Role::Listener)];
    let role = worker.and_then(|_| roles[rng.usize(..roles.len())]);
    let most = if matches!(role, None | Some(Role::Pool)) { 60 } else { 4 };
    Fault::At { worker, what, direction, role, after: rng.u32(..most), forward: rng.bool() }
}

impl Fault {
    /// Draws a fault.
    pub(crate) fn draw(rng: &mut Rng, workers: usize) -> Self {
        let total: u32 = WEIGHTS.iter().map(|(weight, _)| weight).sum();
        let mut at = rng.u32(..total);
        for (weight, fault) in WEIGHTS {
            match at.checked_sub(weight) {
                Some(rest) => at = rest,
                None => return fault(rng, workers),
            }
        }
        unreachable!("the number is below the sum of the weights")
    }

    /// Draws faults that can be there at once. Those that keep the suite itself from the server come last.
    pub(crate) fn draw_at_once(rng: &mut Rng, workers: usize, count: usize) -> Vec<Self> {
        let mut drawn: Vec<Self> = Vec::new();
        while drawn.len() < count {
            let fault = Self::draw(rng, workers);
            let alone = matches!(fault, Self::PromoteSync | Self::PromoteAsync | Self::Poison);
            let stops = fault.stops_server() && drawn.iter().any(|other| other.stops_server());
            if count == 1 || !alone && !stops {
                drawn.push(fault);
            }
        }
        drawn.sort_by_key(|fault| fault.stops_server());
        drawn
    }

    fn stops_server(self) -> bool {
        matches!(
            self,
            Self::CrashServer
                | Self::RestartServer
                | Self::KillBackend
                | Self::FreezeServer
                | Self::FreezePostmaster
        )
    }

    /// The name of its kind.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::KillWorker(_) => "SIGKILL of a worker",
            Self::FreezeWorker(_) => "SIGSTOP of a worker",
            Self::DrainWorker(_) => "SIGTERM of a worker",
            Self::OldRelease(_) => "old release of a worker",
            Self::LockTables => "locked tables",
            Self::PanicActor(_) => "panic of an own actor",
            Self::Poison => "poison",
            Self::CrashServer => "crash of the server",
            Self::RestartServer => "restart of the server",
            Self::KillBackend => "SIGKILL of a backend",
            Self::FreezeServer => "SIGSTOP of the server",
            Self::FreezePostmaster => "SIGSTOP of the postmaster",
            Self::FreezeBackends(_) => "SIGSTOP of backends",
            Self::Terminate(Backend::Heartbeat) => "termination of heartbeats",
            Self::Terminate(Backend::Listener) => "termination of listeners",
            Self::Terminate(Backend::Pool) => "termination of the pool",
            Self::Terminate(Backend::Publisher) => "termination of publishers",
            Self::CancelStatements => "cancelled statements",
            Self::ReadOnly => "read-only window",
            Self::Cut(Some(_)) => "cut of a worker",
            Self::Cut(None) => "cut of everybody",
            Self::Stall(Some(_)) => "black hole for a worker",
            Self::Stall(None) => "black hole for everybody",
            Self::At { worker: None, .. } => "fault at a message of a publisher",
            Self::At { what: AtMessage::Cut, .. } => "cut at a message",
            Self::At { what: AtMessage::Stall, .. } => "stall at a message",
            Self::At { what: AtMessage::Delay, .. } => "delay at a message",
            Self::At { what: AtMessage::KillWorker, .. } => "SIGKILL at a message",
            Self::SwallowNotifications => "notifications swallowed",
            Self::RepeatNotifications => "notifications repeated",
            Self::ForgeNotifications => "notifications forged",
            Self::SlowListener(_) => "slow listener",
            Self::JumpClock(..0) => "clock set back and on",
            Self::JumpClock(_) => "clock set on and back",
            Self::PullCable(_) => "packets dropped",
            Self::FullDisk => "full disk",
            Self::FullQueue => "full queue of notifications",
            Self::PromoteSync => "failover to a synchronous standby",
            Self::PromoteAsync => "failover to a lagging standby",
        }
    }

    /// Draws the time from the fault to its end.
    pub(crate) fn hold(self, rng: &mut Rng) -> Duration {
        let millis = match self {
            // Half of them past the time after which a silent process is declared dead.
            Self::FreezeWorker(_) if rng.bool() => 7_000..9_000,
            Self::PullCable(_) => 2_000..14_000,
            // Some beats long: by them the processes see that the clock was wrong.
            Self::JumpClock(_) => 2_500..4_000,
            Self::FreezeServer | Self::FreezePostmaster | Self::FreezeBackends(_) => 500..3_000,
            Self::Stall(_) if rng.u32(..4) == 0 => 8_000..12_000,
            Self::KillWorker(_) | Self::Terminate(_) | Self::KillBackend | Self::CancelStatements => 0..1,
            Self::PromoteSync | Self::PromoteAsync | Self::PanicActor(_) | Self::Poison => 0..1,
            _ => 100..1_500,
        };
        Duration::from_millis(rng.u64(millis))
    }
}

impl AtMessage {
    /// The trap, for the worker with this process id.
    pub(crate) fn trap(
        self,
        direction: Direction,
        role: Option<Role>,
        after: u32,
        forward: bool,
        process: u32,
    ) -> Trap {
        let action = match self {
            Self::Cut => Action::Cut,
            Self::Stall => Action::Stall,
            Self::Delay => Action::Delay(Duration::from_millis(300)),
            Self::KillWorker => Action::Kill(process),
        };
        Trap { direction, role, after, forward, action }
    }
}
