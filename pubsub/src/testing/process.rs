//! Waiting for a child process, with an end.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io;
use std::process::{Child, ExitStatus};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for something, and how often to look.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    pub(super) limit: Duration,
    pub(super) interval: Duration,
}

impl Patience {
    /// Looks until there is something to see, or `None` when the time is up.
    pub(super) fn poll<T, E>(self, mut look: impl FnMut() -> Result<Option<T>, E>) -> Result<Option<T>, E> {
        let start = Instant::now();
        loop {
            match look()? {
                Some(seen) => return Ok(Some(seen)),
                None if start.elapsed() >= self.limit => return Ok(None),
                None => thread::sleep(self.interval),
            }
        }
    }
}

/// Waits until `child` has ended, or returns `None` when the time is up.
pub(super) fn wait(child: &mut Child, patience: Patience) -> io::Result<Option<ExitStatus>> {
    patience.poll(|| child.try_wait())
}

/// Kills `child` and everything in the process group that it leads, and waits for it.
pub(super) fn kill_group(child: &mut Child) {
    // Neither can fail in a way that matters: either it has ended, or SIGKILL ends it.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}

/// Sends `signal`, waits for the end, and kills `child` when the time is up.
pub(super) fn stop(child: &mut Child, signal: Signal, patience: Patience) -> io::Result<()> {
    // An ended child may have been waited for already, and then its id may be someone else's.
    if child.try_wait()?.is_some() {
        return Ok(());
    }
    kill_process(Pid::from_child(child), signal)?;
    if wait(child, patience)?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}
