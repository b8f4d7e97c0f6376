//! Lines on the standard error, so that nobody takes a download for a program that hangs.

use std::io::{self, Write};
use std::time::{Duration, Instant};

/// The time between two lines about one download.
const INTERVAL: Duration = Duration::from_secs(1);

const MEGABYTE: u64 = 1_000_000;

/// Writes a line, also past a test harness that keeps what tests print.
pub(in crate::testing) fn tell(line: &str) {
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "pubsub: {line}");
}

/// A download's progress.
pub(super) struct Progress {
    total: Option<u64>,
    last: Instant,
}

impl Progress {
    pub(super) fn new(total: Option<u64>) -> Self {
        Self { total, last: Instant::now() }
    }

    /// Tells how many bytes have come, now and then.
    pub(super) fn at(&mut self, bytes: u64) {
        if self.last.elapsed() < INTERVAL {
            return;
        }
        self.last = Instant::now();
        let total = self.total.map_or(String::new(), |total| format!(" of {}", total.div_ceil(MEGABYTE)));
        tell(&format!("{}{total} MB", bytes / MEGABYTE));
    }
}
