//! The directory that keeps what was fetched. Processes share it, and each entry is complete or absent.

use super::problem::Problem;
use super::progress::tell;
use crate::testing::account::Account;
use crate::testing::directory::open_to_all;
use crate::testing::process::{self, WaitLimit};
use crate::testing::programs::has_server;
use std::collections::VecDeque;
use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, io};

/// The environment variable with the directory to use.
const CHOSEN: &str = "PUBSUB_POSTGRES_CACHE";

/// The directory of root, whose own is closed to the account that runs PostgreSQL.
const OF_ROOT: &str = "/var/cache/pubsub";

/// The longest wait for another process, which is longer than a download may take.
const LOCK: WaitLimit =
    WaitLimit { limit: Duration::from_secs(15 * 60), interval: Duration::from_millis(50) };

/// The longest time for a program to say its version, on a machine that may be busy.
const VERSION: WaitLimit = WaitLimit { limit: Duration::from_secs(60), interval: Duration::from_millis(5) };

/// The wait that needs no explanation.
const PATIENCE: Duration = Duration::from_secs(1);

/// The deepest directory of an entry in which programs are looked for: `usr/lib/postgresql/18/bin`, below one more.
const DEPTH: usize = 6;

/// A directory of entries.
pub(super) struct Cache {
    directory: PathBuf,
    /// The account that runs PostgreSQL for root.
    account: Option<Account>,
}

/// An entry that is not complete yet.
pub(super) struct Part {
    path: PathBuf,
    lock: File,
}

impl Part {
    /// A directory for what becomes the entry.
    pub(super) fn files(&self) -> PathBuf {
        self.path.join("files")
    }

    /// The standard input of a program that fills the entry: empty, and it holds the lock. So a program that outlives this process
    /// is not disturbed by the next one, which waits for it.
    pub(super) fn lock(&self) -> io::Result<Stdio> {
        self.lock.try_clone().map(Stdio::from)
    }

    /// A directory for what is deleted afterwards.
    pub(super) fn scratch(&self) -> &Path {
        &self.path
    }
}

impl Cache {
    pub(super) fn of_this_machine() -> Result<Self, Problem> {
        let account = Account::for_postgres().map_err(|error| Problem::new(error.to_string()))?;
        let given = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || {
            given("HOME")
                .map(|home| home.join(if cfg!(target_os = "macos") { "Library/Caches" } else { ".cache" }))
        };
        let directory = match (given(CHOSEN), &account) {
            (Some(chosen), _) => chosen,
            (None, Some(_)) => OF_ROOT.into(),
            (None, None) => given("XDG_CACHE_HOME")
                .or_else(home)
                .ok_or_else(|| Problem::new(format!("there is no place to keep it: set HOME or {CHOSEN}")))?
                .join("pubsub"),
        };
        // Programs of the cache are run in another directory.
        let directory = std::path::absolute(&directory)
            .map_err(Problem::system(format!("`{}` cannot be found", directory.display())))?;
        Ok(Self { directory, account })
    }

    #[cfg(test)]
    pub(super) fn at(directory: &Path) -> Self {
        let account = Account::for_postgres().unwrap_or_else(|error| panic!("{error}"));
        Self { directory: directory.to_owned(), account }
    }

    /// The directory of an entry's programs. `fill` puts the files of an entry that is missing into place.
    pub(super) fn get(
        &self,
        key: &str,
        fill: impl FnOnce(&Part) -> Result<(), Problem>,
    ) -> Result<PathBuf, Problem> {
        let entry = self.directory.join(key);
        if let Some(programs) = programs(&entry) {
            return Ok(programs);
        }
        self.prepare()?;
        // Released when it is closed, also by a process that is killed.
        let lock = self.lock()?;
        if let Some(programs) = programs(&entry) {
            return Ok(programs);
        }
        // Whatever has this name is left over, because this process has the lock.
        let part = Part { path: self.directory.join(format!("{key}.part")), lock };
        remove(&part.path)?;
        let files = part.files();
        fs::create_dir_all(&files)
            .map_err(Problem::system(format!("`{}` cannot be created", files.display())))?;
        let filled = fill(&part).and_then(|()| self.check(&part)).and_then(|()| {
            remove(&entry)?;
            fs::rename(&files, &entry)
                .map_err(Problem::system(format!("`{}` cannot be moved into place", files.display())))
        });
        // A part that stays is removed by the next attempt.
        let removed = remove(&part.path);
        filled.and(removed)?;
        programs(&entry).ok_or_else(|| Problem::new(format!("`{}` has just been removed", entry.display())))
    }

    fn prepare(&self) -> Result<(), Problem> {
        let directory = self.directory.display();
        let refused = || format!("`{directory}` cannot be used (set {CHOSEN} to another directory)");
        if !self.directory.exists() {
            fs::create_dir_all(&self.directory).map_err(Problem::system(refused()))?;
            open(&self.directory).map_err(Problem::system(refused()))?;
        }
        match &self.account {
            Some(Account { name, .. }) if !open_to_all(&self.directory) => Err(Problem::new(format!(
                "`{name}`, which runs PostgreSQL for root, cannot enter `{directory}` (set {CHOSEN} to a directory \
                 that it can enter)"
            ))),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> Result<File, Problem> {
        let path = self.directory.join("lock");
        let refused = || format!("`{}` cannot be locked", path.display());
        let file = File::options()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(Problem::system(refused()))?;
        let (began, mut is_told) = (Instant::now(), false);
        let locked = LOCK.poll(|| match file.try_lock() {
            Ok(()) => Ok(Some(())),
            Err(TryLockError::WouldBlock) => {
                if !is_told && began.elapsed() >= PATIENCE {
                    tell("waiting for another process, which gets PostgreSQL");
                    is_told = true;
                }
                Ok(None)
            }
            Err(TryLockError::Error(error)) => Err(error),
        });
        match locked {
            Ok(Some(())) => Ok(file),
            Ok(None) => Err(Problem::new(format!("{} within {:?}", refused(), LOCK.limit))),
            Err(error) => Err(Problem::system(refused())(error)),
        }
    }

    /// Checks that the files contain programs that run on this machine, as the account that will run them.
    fn check(&self, part: &Part) -> Result<(), Problem> {
        let files = part.files();
        open(part.scratch()).and_then(|()| open_all(&files)).map_err(Problem::system(format!(
            "the files in `{}` cannot be opened to all",
            files.display()
        )))?;
        let programs =
            programs(&files).ok_or_else(|| Problem::new("it does not contain `initdb` and `postgres`"))?;
        for name in ["initdb", "postgres"] {
            let mut command = Command::new(programs.join(name));
            command.arg("--version").env("LC_ALL", "C").current_dir("/");
            if let Some(account) = &self.account {
                command.uid(account.uid).gid(account.gid);
            }
            let refused = format!("its `{name}` does not run on this machine");
            let output = process::ask(&mut command, VERSION).map_err(Problem::system(refused.clone()))?;
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr);
                return Err(Problem::new(format!("{refused}: {}", said.trim())));
            }
        }
        Ok(())
    }
}

/// The directory of the programs in an entry, which may lie anywhere in it.
fn programs(entry: &Path) -> Option<PathBuf> {
    let mut directories = VecDeque::from([(0, entry.to_owned())]);
    while let Some((depth, directory)) = directories.pop_front() {
        if has_server(&directory) {
            return Some(directory);
        }
        if depth < DEPTH {
            let entries = fs::read_dir(&directory).into_iter().flatten().flatten();
            let inner = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            directories.extend(inner.map(|entry| (depth + 1, entry.path())));
        }
    }
    None
}

/// Lets every user read and enter what is in a directory, whatever the umask of this process is.
fn open_all(directory: &Path) -> io::Result<()> {
    open(directory)?;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            open_all(&entry.path())?;
        } else if kind.is_file() {
            open(&entry.path())?;
        }
    }
    Ok(())
}

fn open(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    let executable = if mode & 0o111 == 0 { 0 } else { 0o111 };
    fs::set_permissions(path, Permissions::from_mode(mode & 0o777 | 0o444 | executable))
}

fn remove(directory: &Path) -> Result<(), Problem> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Problem::system(format!("`{}` cannot be removed", directory.display()))(error))
        }
        _ => Ok(()),
    }
}
