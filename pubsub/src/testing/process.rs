//! Waits for a child process with a time limit.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// A time limit, and the interval between two checks.
#[derive(Debug, Clone, Copy)]
pub(super) struct WaitLimit {
    pub(super) limit: Duration,
    pub(super) interval: Duration,
}

impl WaitLimit {
    /// Checks until there is a value. Returns `None` after the time limit.
    pub(super) fn poll<T, E>(self, mut check: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
        let start = Instant::now();
        loop {
            match check()? {
                Some(value) => return Ok(Some(value)),
                None if start.elapsed() >= self.limit => return Ok(None),
                None => thread::sleep(self.interval),
            }
        }
    }
}

/// Waits until `child` has exited. Returns `None` after the time limit.
pub(super) fn wait(child: &mut Child, limit: WaitLimit) -> io::Result<Option<ExitStatus>> {
    limit.poll(|| child.try_wait())
}

/// Kills `child` and everything in the process group that it leads, and waits for it.
pub(super) fn kill_group(child: &mut Child) {
    // Both errors are harmless: the child has exited, or SIGKILL ends it.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// Sends `signal`, waits for the exit, and kills `child` after the time limit.
pub(super) fn stop(child: &mut Child, signal: Signal, limit: WaitLimit) -> io::Result<()> {
    // A child that was waited for may have lost its id to another process.
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    kill_process(Pid::from_child(child), signal)?;
    if wait(child, limit)?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
