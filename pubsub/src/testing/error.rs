//! The errors of throwaway servers and databases.

use crate::error::error_chain;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// An error while creating a throwaway server or database.
///
/// `Debug` writes the error and its causes in one line, because `main` and `unwrap` show an error that way, and `{:#?}` its
/// structure.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No PostgreSQL server was found on this machine, and none could be fetched.
    #[error(
        "no PostgreSQL server found (looked in PUBSUB_POSTGRES_BIN, PATH, pg_config, /usr/lib/postgresql, Homebrew, \
         Postgres.app), and none could be fetched ({}): install one with `apt-get install postgresql` (Debian, Ubuntu), \
         `dnf install postgresql-server` (Fedora), `apk add postgresql` (Alpine) or `brew install postgresql@18` (macOS), \
         or set DATABASE_URL to a running server, for example from `docker run -e POSTGRES_PASSWORD=postgres -p \
         5432:5432 postgres:18`",
        .tried.join("; ")
    )]
    NotFound {
        /// The sources that were tried, each with the reason why it gave none.
        tried: Vec<String>,
    },

    /// The archive that the environment variable `PUBSUB_POSTGRES_ARCHIVE` names cannot be used.
    #[error("could not get PostgreSQL from {from}: {problem}")]
    NotFetched {
        /// The archive's address, without what may be a secret.
        from: String,
        /// The reason, and what to do.
        problem: String,
        /// The operating system's error, if there is one.
        #[source]
        source: Option<Arc<std::io::Error>>,
    },

    /// The environment variable `PUBSUB_POSTGRES_BIN`, or the caller, names a directory without the server's binaries.
    #[error("`{}` does not contain `initdb` and `postgres` (is it in PUBSUB_POSTGRES_BIN?)", .0.display())]
    NoBinaries(PathBuf),

    /// This process runs as root, PostgreSQL refuses to, and no other account was found.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd names neither `postgres` nor `nobody` to run it as"
    )]
    NoAccount,

    /// The account that runs PostgreSQL cannot enter a temporary directory.
    #[error("`{account}`, which runs PostgreSQL for root, cannot enter any of {}", list(.tried))]
    Unreachable {
        /// The account's name.
        account: String,
        /// The directories that were tried.
        tried: Vec<PathBuf>,
    },

    /// The operating system refused something.
    #[error("could not {action}")]
    System {
        /// The action that failed.
        action: String,
        /// The operating system's error.
        #[source]
        source: std::io::Error,
    },

    /// A program of PostgreSQL failed.
    #[error("`{program}` failed ({status}); the end of its log:\n{log}")]
    Failed {
        /// `postgres` or one of its tools.
        program: &'static str,
        /// Its exit status.
        status: std::process::ExitStatus,
        /// The end of its log.
        log: String,
    },

    /// A program of PostgreSQL took too long.
    #[error("`{program}` did not finish within {waited:?}; the end of its log:\n{log}")]
    TimedOut {
        /// `postgres` or one of its tools.
        program: &'static str,
        /// The time limit.
        waited: Duration,
        /// The end of its log.
        log: String,
    },

    /// There is no connection to a running server.
    #[error("could not connect to the server")]
    Connect(#[source] crate::Error),

    /// A running server refused something.
    #[error("could not {action}")]
    Database {
        /// The action that failed.
        action: String,
        /// The server's error.
        #[source]
        source: tokio_postgres::Error,
    },

    /// A running server did not answer in time.
    #[error("could not {action} within {waited:?}")]
    NoAnswer {
        /// The action that failed.
        action: String,
        /// The time limit.
        waited: Duration,
    },

    /// The migrations failed on a new database.
    #[error("could not migrate the template database")]
    Migrate(#[source] crate::Error),

    /// Not everything was settled in time. See [`Harness::settled`](super::Harness::settled).
    #[error("not settled after {after:?}: {open}")]
    Unsettled {
        /// The time limit.
        after: Duration,
        /// The work of each subscription that is still open.
        open: String,
    },

    /// The runtime of a harness, or its database, refused something.
    #[error(transparent)]
    Runtime(#[from] crate::Error),
}

impl Error {
    /// For `map_err`: an error of the operating system while doing `action`.
    pub(super) fn system(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { action: action.into(), source }
    }

    /// The SQLSTATE, if a server answered with one.
    pub(super) fn code(&self) -> Option<&tokio_postgres::error::SqlState> {
        match self {
            Self::Database { source, .. } => source.code(),
            Self::Connect(crate::Error::Connect { source, .. }) => {
                source.downcast_ref::<tokio_postgres::Error>()?.code()
            }
            _ => None,
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            return f.write_str(&error_chain(self));
        }
        let source = std::error::Error::source(self);
        f.debug_struct("Error").field("text", &format_args!("{self}")).field("source", &source).finish()
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}
