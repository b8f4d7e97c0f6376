//! Stops the server and deletes its directory when our process is gone, even by SIGKILL.
//!
//! A shell reads a pipe whose only writing end is ours, so the end of the pipe is the end of us. Neither a parent-death
//! signal (Linux only, and tied to a thread) nor a destructor or an `atexit` (not run by SIGKILL) would do.

use super::Error;
use super::process::{self, Patience};
use std::io::{self, PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the shell runs. Its waits are bounded: 10 s for the server to stop, 10 s for the directory to go.
const SCRIPT: &str = include_str!("watchdog.sh");

/// How long we wait for the shell to end after us. Longer than both of its own waits together.
const PATIENCE: Patience = Patience { limit: Duration::from_secs(25), interval: Duration::from_millis(2) };

/// The largest line a child writes: its process id and a newline.
const LINE: usize = 16;

/// The watching shell, and our end of its pipe.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
    /// Taken only when we are dropped.
    pipe: Option<PipeWriter>,
}

impl Watchdog {
    /// Watches over `directory`, which need not exist yet.
    pub(super) fn start(directory: &Path) -> Result<Self, Error> {
        let start = || {
            // Both ends close on exec, so no child of ours keeps the pipe open.
            let (reader, writer) = io::pipe()?;
            let shell = Command::new("/bin/sh")
                .args(["-c", SCRIPT, "pubsub-testing-watchdog"])
                .arg(directory)
                .stdin(reader)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .current_dir("/")
                // Its own group: Ctrl-C in the terminal ends us and not the shell.
                .process_group(0)
                .spawn()?;
            Ok(Self { shell, pipe: Some(writer) })
        };
        start().map_err(Error::system("start the watchdog `/bin/sh`"))
    }

    /// Starts `command` in a process group of its own, which the shell kills if we die.
    ///
    /// The child itself tells the shell its process id, before it becomes `command`: were it us, we could be killed
    /// between starting the child and telling.
    pub(super) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let Some(pipe) = &self.pipe else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut pipe = pipe.try_clone()?;
        let announce = move || {
            let mut line = [0; LINE];
            let mut rest = &mut line[..];
            writeln!(rest, "{}", std::process::id())?;
            let length = LINE - rest.len();
            pipe.write_all(&line[..length])
        };
        command.process_group(0);
        // SAFETY: runs in the forked child, where only async-signal-safe functions may be called. It calls getpid and
        // write, formats into an array on the stack, and neither allocates nor locks.
        unsafe { command.pre_exec(announce) };
        command.spawn()
    }

    /// Tells the shell that the last spawned process has ended and been waited for, so its id may be someone else's.
    pub(super) fn ended(&self) {
        self.tell("ended\n");
    }

    /// Tells the shell that the directory is not ours to delete.
    pub(super) fn hands_off(&self) {
        self.tell("hands off\n");
    }

    fn tell(&self, line: &str) {
        if let Some(mut pipe) = self.pipe.as_ref()
            && let Err(error) = pipe.write_all(line.as_bytes())
        {
            // Somebody killed the shell. Nothing watches any more, and nothing depends on it while we live.
            tracing::warn!(%error, "the watchdog of the throwaway PostgreSQL server is gone");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        match process::wait(&mut self.shell, PATIENCE) {
            Ok(Some(_)) => {}
            Ok(None) => tracing::warn!(limit = ?PATIENCE.limit, "the watchdog did not end"),
            Err(error) => tracing::warn!(%error, "could not wait for the watchdog"),
        }
    }
}
