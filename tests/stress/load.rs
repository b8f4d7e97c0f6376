//! The kinds and the amount of load, and the progress of a run.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A kind of a publisher's transaction.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Transaction {
    /// One insert of a few events without a transaction block.
    Autocommit,
    /// An event whose id is drawn some time before its commit.
    Held,
    /// Transaction id first, then a wait, then the key's row lock: ids, transaction ids and commits in three orders.
    Keyed,
    /// With deduplication keys that others publish at the same moment.
    Once,
    /// Savepoints, some of them rolled back.
    Savepoints,
    /// A snapshot that is old by the time of the insert.
    RepeatableRead,
    /// Prepared, and finished later.
    TwoPhase,
    /// Several statements over some hundred milliseconds.
    Long,
    /// Tens of thousands of events at once.
    Large,
}

/// The load of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) seed: u64,
    /// The least duration of the run.
    pub(crate) duration: Duration,
    /// The least number of events committed on the observed channel.
    pub(crate) events: usize,
    /// The kinds of transaction with their weights.
    pub(crate) mix: &'static [(Transaction, u32)],
    /// Whether the single consumer pauses now and then, so that a backlog builds up.
    pub(crate) backlogs: bool,
}

/// All kinds of transactions.
pub(crate) const BROAD: &[(Transaction, u32)] = &[
    (Transaction::Autocommit, 32),
    (Transaction::Held, 6),
    (Transaction::Keyed, 25),
    (Transaction::Once, 6),
    (Transaction::Savepoints, 12),
    (Transaction::RepeatableRead, 8),
    (Transaction::TwoPhase, 6),
    (Transaction::Long, 3),
    (Transaction::Large, 2),
];

/// Many small transactions in flight while windows open and close, which the known holes need.
pub(crate) const ADVERSARIAL: &[(Transaction, u32)] =
    &[(Transaction::Autocommit, 40), (Transaction::Held, 20), (Transaction::Keyed, 40)];

/// The progress of a run, shared by its publishers and claimers.
pub(crate) struct Progress {
    load: Load,
    started: Instant,
    events: AtomicUsize,
    transactions: AtomicU64,
    claims: AtomicU64,
    claims_rolled_back: AtomicU64,
    publishing: AtomicUsize,
}

impl Progress {
    pub(crate) fn start(load: Load) -> Arc<Self> {
        Arc::new(Self {
            load,
            started: Instant::now(),
            events: AtomicUsize::new(0),
            transactions: AtomicU64::new(0),
            claims: AtomicU64::new(0),
            claims_rolled_back: AtomicU64::new(0),
            publishing: AtomicUsize::new(0),
        })
    }

    /// Counts a publisher's transaction that committed this many events on the observed channel.
    pub(crate) fn count_transaction(&self, events: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_claim(&self, rolled_back: bool) {
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.claims_rolled_back.fetch_add(u64::from(rolled_back), Ordering::Relaxed);
    }

    /// Whether publishers may stop.
    pub(crate) fn is_enough(&self) -> bool {
        self.started.elapsed() >= self.load.duration
            && self.events.load(Ordering::Relaxed) >= self.load.events
    }

    /// Whether claimers can keep up with a large transaction: until the least number of events is reached, and after that
    /// at a pace that they can follow.
    pub(crate) fn has_room_for_large(&self) -> bool {
        const EVENTS_PER_SECOND: f64 = 3_000.0;
        let paced = EVENTS_PER_SECOND * self.started.elapsed().as_secs_f64();
        self.events.load(Ordering::Relaxed) < self.load.events.max(paced as usize)
    }

    /// Whether all publishers have stopped, so that no more events will be committed.
    pub(crate) fn is_all_published(&self) -> bool {
        self.publishing.load(Ordering::SeqCst) == 0
    }

    /// Counts the caller as a publisher until the returned value is dropped. Call it before the first claimer starts.
    pub(crate) fn publishing(self: &Arc<Self>) -> Publishing {
        self.publishing.fetch_add(1, Ordering::SeqCst);
        Publishing(Arc::clone(self))
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        write!(
            f,
            "{} transactions of publishers, {} claims, {} of them rolled back, {:.1} s",
            read(&self.transactions),
            read(&self.claims),
            read(&self.claims_rolled_back),
            self.started.elapsed().as_secs_f64()
        )
    }
}

/// Counts as one publisher.
pub(crate) struct Publishing(Arc<Progress>);

impl Drop for Publishing {
    fn drop(&mut self) {
        self.0.publishing.fetch_sub(1, Ordering::SeqCst);
    }
}
