//! Waits for a child process with a time limit.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
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

/// Runs a program that writes a few words, and returns them. After the time limit it is killed, which is an error.
pub(super) fn ask(command: &mut Command, limit: WaitLimit) -> io::Result<Output> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn()?;
    // The pipes hold a few words until they are read.
    match wait(&mut child, limit)? {
        Some(_) => child.wait_with_output(),
        None => {
            kill_group(&mut child);
            Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("it did not finish within {:?}", limit.limit),
            ))
        }
    }
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
