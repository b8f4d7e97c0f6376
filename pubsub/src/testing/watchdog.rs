//! Stops the server and deletes its directory when this process ends, even by SIGKILL.
//!
//! A shell reads a pipe whose only writing end is in this process, so the end of the pipe is the end of the process. A
//! parent-death signal works only on Linux and is tied to a thread; destructors and `atexit` do not run after SIGKILL.

use super::Error;
use super::process::{self, WaitLimit};
use std::io::{self, PipeWriter, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The shell's script. Its waits are bounded: 10 s until the server has stopped, 10 s until the directory is gone.
const SCRIPT: &str = include_str!("watchdog.sh");

/// The longest wait for the shell's exit. It is longer than both waits of the script together.
const LIMIT: WaitLimit = WaitLimit { limit: Duration::from_secs(25), interval: Duration::from_millis(2) };

/// The longest line of a child: its process id and a newline.
const LINE: usize = 16;

/// The watching shell, and the writing end of its pipe.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
    /// Taken only in `drop`.
    pipe: Option<PipeWriter>,
}

impl Watchdog {
    /// Watches `directory`, which need not exist yet.
    pub(super) fn start(directory: &Path) -> Result<Self, Error> {
        let start = || {
            // Both ends close on exec, so no child process keeps the pipe open.
            let (reader, writer) = io::pipe()?;
            let shell = Command::new("/bin/sh")
                .args(["-c", SCRIPT, "pubsub-testing-watchdog"])
                .arg(directory)
                .stdin(reader)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .current_dir("/")
                // Its own group, so that Ctrl-C in the terminal ends this process and not the shell.
                .process_group(0)
                .spawn()?;
            Ok(Self { shell, pipe: Some(writer) })
        };
        start().map_err(Error::system("start the watchdog `/bin/sh`"))
    }

    /// Starts `command` in a process group of its own, which the shell kills if this process dies.
    ///
    /// The child reports its process id to the shell before it executes `command`. If this process did, it could be killed
    /// between the start of the child and the report.
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

    /// Tells the shell that the last spawned process has exited and was waited for, so its id may be reused.
    pub(super) fn ended(&self) {
        self.tell("ended\n");
    }

    /// Tells the shell to keep the directory.
    pub(super) fn keep_directory(&self) {
        self.tell("keep\n");
    }

    fn tell(&self, line: &str) {
        if let Some(mut pipe) = self.pipe.as_ref()
            && let Err(error) = pipe.write_all(line.as_bytes())
        {
            // The shell was killed. Nothing watches any more, but this process does not depend on the shell while it runs.
            tracing::warn!(%error, "the watchdog of the throwaway PostgreSQL server is gone");
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        match process::wait(&mut self.shell, LIMIT) {
            Ok(Some(_)) => {}
            Ok(None) => tracing::warn!(limit = ?LIMIT.limit, "the watchdog did not end"),
            Err(error) => tracing::warn!(%error, "could not wait for the watchdog"),
        }
    }
}
