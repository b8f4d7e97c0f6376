//! The deadline of every wait.

use std::time::Duration;

/// The longest wait for anything that must happen. It is long, so that a slow machine fails no test; a test that passes
/// never waits this long.
pub const DEADLINE: Duration = Duration::from_secs(60);
