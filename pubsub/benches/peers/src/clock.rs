//! The clock that all processes of the machine share.

use rustix::time::{ClockId, clock_gettime};

/// Returns the nanoseconds of the monotonic clock, which Node's `process.hrtime` and Python's `time.monotonic_ns` read too.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
