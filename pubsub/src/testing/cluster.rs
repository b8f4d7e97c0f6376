//! The files of one server, and PostgreSQL's programs that work on them as the right user.

use super::account::Account;
use super::binaries::Binaries;
use super::directory::Directory;
use super::process::{self, WaitLimit};
use super::{Error, Options};
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;
use std::{env, fs, io};

/// Creating the files takes well under a second. The limit is for an overloaded machine.
const CREATE: WaitLimit = WaitLimit { limit: Duration::from_secs(60), interval: Duration::from_millis(5) };

/// An upgrade starts both servers several times.
const UPGRADE: WaitLimit = WaitLimit { limit: Duration::from_secs(180), interval: Duration::from_millis(20) };

/// Starting includes recovery after [`Mode::Immediate`](super::Mode::Immediate).
const START: WaitLimit = WaitLimit { limit: Duration::from_secs(60), interval: Duration::from_millis(5) };

/// A part of the log when another process uses the port.
const PORT_TAKEN: &str = "could not bind";

/// The line of `postmaster.pid` with the server's state, counted from 0, and its contents when clients may connect to a
/// primary or to a standby.
const STATE_LINE: usize = 7;
const READY: [&str; 2] = ["ready", "standby"];

/// A cluster in PostgreSQL's sense: the files of one server.
#[derive(Debug)]
pub(super) struct Cluster {
    directory: Directory,
    binaries: Binaries,
    account: Option<Account>,
}

impl Cluster {
    /// Creates the files of a new server.
    pub(super) fn create(binaries: Binaries) -> Result<Self, Error> {
        let cluster = Self::prepare(binaries)?;
        cluster.initialize(&[])?;
        Ok(cluster)
    }

    /// Copies the files of the server that runs on `port`, for its standby.
    pub(super) fn copy(binaries: Binaries, port: u16) -> Result<Self, Error> {
        let cluster = Self::prepare(binaries)?;
        let mut command = cluster.command("pg_basebackup");
        command
            .args(["--username=postgres", "--host=127.0.0.1", "--port"])
            .arg(port.to_string())
            .args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf", "--pgdata"])
            .arg(cluster.directory.data());
        cluster.run(command, "pg_basebackup", CREATE)?;
        Ok(cluster)
    }

    /// Upgrades the files of a server that has been stopped with [`Mode::Fast`](super::Mode::Fast).
    pub(super) fn upgrade(binaries: Binaries, old: &Self) -> Result<Self, Error> {
        let cluster = Self::prepare(binaries)?;
        // Both must agree on checksums, which are the default since version 18.
        let none = "--no-data-checksums";
        let checksums = if cluster.knows(none)? && !old.knows(none)? { &[none][..] } else { &[] };
        cluster.initialize(checksums)?;
        let mut command = cluster.command("pg_upgrade");
        command
            .arg("--old-bindir")
            .arg(old.binaries.directory())
            .arg("--new-bindir")
            .arg(cluster.binaries.directory())
            .arg("--old-datadir")
            .arg(old.directory.data())
            .arg("--new-datadir")
            .arg(cluster.directory.data())
            .arg("--socketdir")
            .arg(cluster.directory.path())
            .args(["--username=postgres", "--no-sync"]);
        cluster.run(command, "pg_upgrade", UPGRADE)?;
        Ok(cluster)
    }

    /// Promotes a standby.
    pub(super) fn promote(&self) -> Result<(), Error> {
        let mut command = self.command("pg_ctl");
        command.args(["promote", "--wait", "--pgdata"]).arg(self.directory.data());
        let ended = command.output().map_err(Error::system("run `pg_ctl`"))?;
        if ended.status.success() {
            return Ok(());
        }
        let log = String::from_utf8_lossy(&ended.stderr).into_owned();
        Err(Error::Failed { program: "pg_ctl", status: ended.status, log })
    }

    fn prepare(binaries: Binaries) -> Result<Self, Error> {
        let account = Account::for_postgres()?;
        let directory = Directory::create(account.as_ref())?;
        Ok(Self { directory, binaries, account })
    }

    fn initialize(&self, arguments: &[&str]) -> Result<(), Error> {
        let mut command = self.command("initdb");
        command
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"])
            .args(["--no-sync", "--pgdata"])
            .arg(self.directory.data())
            .args(arguments)
            // Otherwise `initdb` compares the system's time zone with every known one.
            .env("TZ", "UTC");
        self.run(command, "initdb", CREATE)
    }

    /// Whether `initdb` has an option.
    fn knows(&self, option: &str) -> Result<bool, Error> {
        let help = self.command("initdb").arg("--help").output().map_err(Error::system("run `initdb`"))?;
        Ok(String::from_utf8_lossy(&help.stdout).contains(option))
    }

    /// Runs a program to its end.
    fn run(&self, command: Command, program: &'static str, limit: WaitLimit) -> Result<(), Error> {
        let (mut child, log) = self.spawn(command, program)?;
        match process::wait(&mut child, limit) {
            Ok(Some(status)) if status.success() => {
                self.directory.watchdog().ended();
                Ok(())
            }
            status => Err(self.failure(program, child, status, limit.limit, log)),
        }
    }

    /// Starts the server on `port` and waits until clients may connect.
    pub(super) fn start(&self, options: &Options, port: u16) -> Result<Child, Error> {
        let data = self.directory.data();
        let state = data.join("postmaster.pid");
        let mut command = self.command("postgres");
        command.arg("-D").arg(data);
        command.arg("-c").arg(format!("listen_addresses={}", Ipv4Addr::LOCALHOST));
        command.arg("-c").arg(format!("port={port}"));
        command.arg("-c").arg(format!("unix_socket_directories={}", self.directory.path().display()));
        for (name, value) in options.all() {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let (mut child, log) = self.spawn(command, "postgres")?;
        // As `pg_ctl --wait` does. A TCP connection would prove less, because another server may answer it.
        let outcome = START.poll(|| match child.try_wait()? {
            Some(status) => Ok(Some(Some(status))),
            None if is_ready(&state, child.id()) => Ok(Some(None)),
            None => Ok(None),
        });
        match outcome {
            Ok(Some(None)) => Ok(child),
            outcome => Err(self.failure("postgres", child, outcome.map(Option::flatten), START.limit, log)),
        }
    }

    pub(super) fn directory(&self) -> &Directory {
        &self.directory
    }

    pub(super) fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.program(program));
        // `PGDATA`, `PGPORT` and similar variables are for another server.
        for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").current_dir(self.directory.path()).stdin(Stdio::null());
        if let Some(account) = &self.account {
            // Setting the user also clears the supplementary groups of root.
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Starts `command`, which writes to the log from the returned position.
    fn spawn(&self, mut command: Command, program: &'static str) -> Result<(Child, u64), Error> {
        let (log, start) = self.directory.open_log()?;
        let copy = log.try_clone().map_err(Error::system("open the log twice"))?;
        command.stdout(copy).stderr(log);
        match self.directory.watchdog().spawn(&mut command) {
            Ok(child) => Ok((child, start)),
            Err(source) => {
                self.directory.watchdog().ended();
                let account =
                    self.account.as_ref().map_or(String::new(), |account| format!(" as `{}`", account.name));
                let path = self.binaries.program(program);
                Err(Error::System { action: format!("run `{}`{account}", path.display()), source })
            }
        }
    }

    /// Kills a child that failed or took too long, and returns the error.
    fn failure(
        &self,
        program: &'static str,
        mut child: Child,
        outcome: io::Result<Option<ExitStatus>>,
        waited: Duration,
        log: u64,
    ) -> Error {
        if !matches!(outcome, Ok(Some(_))) {
            process::kill_group(&mut child);
        }
        self.directory.watchdog().ended();
        let log = self.directory.log_after(log);
        match outcome {
            Ok(Some(status)) => Error::Failed { program, status, log },
            Ok(None) => Error::TimedOut { program, waited, log },
            Err(source) => Error::System { action: format!("wait for `{program}`"), source },
        }
    }
}

impl Error {
    /// Whether a server did not start because another process has its port.
    pub(super) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Failed { log, .. } if log.contains(PORT_TAKEN))
    }
}

/// Whether `postmaster.pid` says that the server with process id `pid` is ready. A killed server leaves its file behind.
fn is_ready(state: &Path, pid: u32) -> bool {
    let Ok(state) = fs::read_to_string(state) else { return false };
    // A file that is not complete yet says that the server is not ready.
    let mut lines = state.lines().map(str::trim);
    lines.next() == Some(pid.to_string().as_str())
        && lines.nth(STATE_LINE - 1).is_some_and(|state| READY.contains(&state))
}
