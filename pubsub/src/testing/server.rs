//! The throwaway server.

use super::binaries::Binaries;
use super::cluster::Cluster;
use super::process::{self, WaitLimit};
use super::{Error, Mode, Options};
use rustix::process::Signal;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::path::Path;
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Stopping includes a last checkpoint. SIGKILL follows the limit.
const STOP: WaitLimit = WaitLimit { limit: Duration::from_secs(15), interval: Duration::from_millis(2) };

/// The range is below the ports that Linux and macOS give to outgoing connections. In that range a client that reconnects
/// during a restart can get the server's port, even connect to itself, and then the server cannot listen on it again.
const PORTS: Range<u16> = 20_000..30_000;

/// The number of ports to try. Another process may take one between the check and the server's start.
const PORT_ATTEMPTS: usize = 20;

static SHARED: Mutex<Option<&'static Server>> = Mutex::new(None);

/// A PostgreSQL server that is stopped and deleted when this value is dropped, or when the process ends in any way.
///
/// The server listens on a port of 127.0.0.1 and on a Unix socket in its [directory](Server::directory). Every user of this
/// machine can connect as the superuser `postgres`.
///
/// All functions block the calling thread: starting takes about a second, and stopping less than a tenth of one. A test may
/// block; other async code calls them inside `spawn_blocking`.
///
/// # Examples
/// ```no_run
/// use pubsub::testing::{Mode, Server};
///
/// let mut server = Server::start()?;
/// println!("psql {}", server.url("postgres"));
/// server.restart(Mode::Immediate)?; // as after a crash
/// # Ok::<(), pubsub::testing::Error>(())
/// ```
#[derive(Debug)]
pub struct Server {
    /// `None` while stopped.
    process: Option<Child>,
    cluster: Cluster,
    options: Options,
    version: String,
    port: u16,
}

impl Server {
    /// Starts a server with settings for tests: it is fast, and not safe against a crash of the machine.
    ///
    /// # Errors
    /// When this machine has no PostgreSQL, in which case [`Error::NotFound`] says how to install one, or when the server does not
    /// start, in which case the error contains the end of its log.
    pub fn start() -> Result<Self, Error> {
        Self::start_with(Options::default())
    }

    /// Starts a server with these options.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_with(options: Options) -> Result<Self, Error> {
        let binaries = match &options.bin_dir {
            Some(directory) => Binaries::in_directory(directory)?,
            None => Binaries::find()?,
        };
        Self::start_on(Cluster::create(binaries)?, options)
    }

    fn start_on(cluster: Cluster, options: Options) -> Result<Self, Error> {
        let version = cluster.binaries().version()?;
        let (process, port) = start_on_free_port(&cluster, &options)?;
        Ok(Self { process: Some(process), cluster, options, version, port })
    }

    /// Starts a standby: a copy of this server that follows it asynchronously and answers queries.
    ///
    /// # Errors
    /// As [`Server::start`], or when this server does not run.
    pub fn standby(&self) -> Result<Self, Error> {
        let cluster = Cluster::copy(self.cluster.binaries().clone(), self.port)?;
        Self::start_on(cluster, self.options.clone())
    }

    /// Promotes a standby to a primary.
    ///
    /// # Errors
    /// When this server is no standby.
    pub fn promote(&self) -> Result<(), Error> {
        self.cluster.promote()
    }

    /// Stops the server, upgrades its data with `pg_upgrade` to the version in `bin_dir`, and starts that version on the
    /// same port.
    ///
    /// # Errors
    /// When the upgrade fails. Then the server is stopped, and its data are unchanged.
    pub fn upgrade(&mut self, bin_dir: &Path) -> Result<(), Error> {
        self.stop(Mode::Fast)?;
        let cluster = Cluster::upgrade(Binaries::in_directory(bin_dir)?, &self.cluster)?;
        self.version = cluster.binaries().version()?;
        self.cluster = cluster;
        self.start_again()
    }

    /// Returns the server that this process's tests share. The first call starts it, and it ends with the process.
    ///
    /// It cannot be stopped or restarted, because other tests use it. Start your own server for that.
    ///
    /// # Errors
    /// As [`Server::start`]. The next call tries again.
    pub fn shared() -> Result<&'static Self, Error> {
        // After a panic with the lock the value is still `None` or a server that works.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = *shared {
            return Ok(server);
        }
        // The watchdog stops servers that are never dropped.
        let server: &'static Self = Box::leak(Box::new(Self::start()?));
        *shared = Some(server);
        Ok(server)
    }

    /// The URL of a database on this server. The database `postgres` exists from the start.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}:{}/{database}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// The TCP port on 127.0.0.1. It stays the same when the server is restarted.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process id of the server, unless it is stopped.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The version, such as `18.1`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The directory of this server's programs, most often including `psql` and `pg_dump`.
    pub fn bin_dir(&self) -> &Path {
        self.cluster.binaries().directory()
    }

    /// The server's own directory, which contains the Unix socket, the file `log`, and `data`.
    pub fn directory(&self) -> &Path {
        self.cluster.directory().path()
    }

    /// Stops the server and starts it again with the same data on the same port.
    ///
    /// # Errors
    /// When it does not start. The data are kept, so [`Server::start_again`] can be called.
    pub fn restart(&mut self, mode: Mode) -> Result<(), Error> {
        self.stop(mode)?;
        self.start_again()
    }

    /// Stops the server and keeps its data. Does nothing if it is stopped.
    ///
    /// A server that does not stop in time is killed.
    ///
    /// # Errors
    /// When the operating system refuses it.
    pub fn stop(&mut self, mode: Mode) -> Result<(), Error> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let signal = match mode {
            Mode::Fast => Signal::INT,
            Mode::Immediate => Signal::QUIT,
        };
        process::stop(process, signal, STOP)
            .map_err(Error::system(format!("stop the server with process id {}", process.id())))?;
        self.cluster.directory().watchdog().ended();
        self.process = None;
        Ok(())
    }

    /// Starts a stopped server with the same data on the same port. Does nothing if it runs.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&mut self) -> Result<(), Error> {
        if self.process.is_none() {
            self.process = Some(self.cluster.start(&self.options, self.port)?);
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The data are deleted next, so no checkpoint is needed.
        if let Err(error) = self.stop(Mode::Immediate) {
            tracing::warn!(%error, "the throwaway PostgreSQL server is left to its watchdog");
        }
    }
}

fn start_on_free_port(cluster: &Cluster, options: &Options) -> Result<(Child, u16), Error> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let port = fastrand::u16(PORTS);
        // Listening for a moment finds a taken port sooner than the server does.
        let listened = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(drop);
        let started = match listened {
            Ok(()) => cluster.start(options, port),
            Err(error) if attempts < PORT_ATTEMPTS && error.kind() == io::ErrorKind::AddrInUse => continue,
            Err(error) => return Err(Error::system(format!("listen on port {port}"))(error)),
        };
        match started {
            Ok(process) => return Ok((process, port)),
            Err(error) if attempts < PORT_ATTEMPTS && error.is_port_taken() => {}
            Err(error) => return Err(error),
        }
    }
}
