//! The directory of one throwaway server, with data, log and socket. It is deleted with its value or its process.

use super::Error;
use super::account::Account;
use super::watchdog::Watchdog;
use std::env;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// The directories to try when PostgreSQL's account cannot enter the system's temporary directory.
const ALTERNATIVES: [&str; 2] = ["/tmp", "/var/tmp"];

/// The length of the end of the log in an error.
const LOG_TAIL_BYTES: u64 = 4096;

/// A temporary directory with a watchdog.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    watchdog: Watchdog,
}

impl Directory {
    /// Creates a directory that `account` owns, or this process's user.
    pub(super) fn create(account: Option<&Account>) -> Result<Self, Error> {
        let name = format!("pubsub-postgres-{:016x}", fastrand::u64(..));
        let path = parent(account)?.join(name);
        // The watchdog starts first, so that the directory never exists without it.
        let watchdog = Watchdog::start(&path)?;
        if let Err(source) = DirBuilder::new().mode(0o700).create(&path) {
            watchdog.keep_directory();
            return Err(Error::System {
                action: format!("create the directory `{}`", path.display()),
                source,
            });
        }
        let directory = Self { path, watchdog };
        if let Some(account) = account {
            let action = format!("give the directory `{}` to `{}`", directory.path.display(), account.name);
            chown(&directory.path, Some(account.uid), Some(account.gid)).map_err(Error::system(action))?;
        }
        Ok(directory)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn data(&self) -> PathBuf {
        self.path.join("data")
    }

    pub(super) fn watchdog(&self) -> &Watchdog {
        &self.watchdog
    }

    /// Opens the log to append to it, and returns its current length.
    pub(super) fn open_log(&self) -> Result<(File, u64), Error> {
        let open = || {
            let log = File::options().create(true).append(true).open(self.log())?;
            let length = log.metadata()?.len();
            Ok((log, length))
        };
        open().map_err(Error::system(format!("open the log `{}`", self.log().display())))
    }

    /// The end of the log, without its first `start` bytes.
    pub(super) fn log_after(&self, start: u64) -> String {
        let read = || -> io::Result<String> {
            let mut log = File::open(self.log())?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(start.max(length.saturating_sub(LOG_TAIL_BYTES))))?;
            let mut tail = Vec::new();
            log.read_to_end(&mut tail)?;
            Ok(String::from_utf8_lossy(&tail).trim_end().to_owned())
        };
        read().unwrap_or_else(|error| format!("(the log `{}` cannot be read: {error})", self.log().display()))
    }

    fn log(&self) -> PathBuf {
        self.path.join("log")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            // The watchdog, dropped after this, tries again.
            tracing::debug!(path = %self.path.display(), %error, "could not delete the server's directory");
        }
    }
}

/// A directory for temporary files that `account` can enter.
fn parent(account: Option<&Account>) -> Result<PathBuf, Error> {
    let system = env::temp_dir();
    let Some(account) = account else { return Ok(system) };
    let candidates: Vec<PathBuf> = [system].into_iter().chain(ALTERNATIVES.map(PathBuf::from)).collect();
    match candidates.iter().find(|path| open_to_all(path)) {
        Some(path) => Ok(path.clone()),
        None => Err(Error::Unreachable { account: account.name.clone(), tried: candidates }),
    }
}

/// Whether every user may enter `path` and all directories above it.
pub(super) fn open_to_all(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else { return false };
    path.ancestors()
        .all(|path| fs::metadata(path).is_ok_and(|directory| directory.permissions().mode() & 0o001 != 0))
}
