//! Why there is no throwaway server or database.

use std::path::PathBuf;
use std::time::Duration;

/// Why a throwaway server or database could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// This machine has no PostgreSQL server, or none where we look.
    #[error(
        "no PostgreSQL server found (looked in PUBSUB_POSTGRES_BIN, PATH, pg_config, /usr/lib/postgresql, Homebrew, \
         Postgres.app): install one with `apt-get install postgresql` (Debian, Ubuntu) or `brew install \
         postgresql@18` (macOS), or set DATABASE_URL to a running server, for example from `docker run -e \
         POSTGRES_PASSWORD=postgres -p 5432:5432 postgres:18`"
    )]
    NotFound,

    /// The environment variable `PUBSUB_POSTGRES_BIN`, or the caller, names a directory without the server's binaries.
    #[error("`{}` does not contain `initdb` and `postgres` (is it in PUBSUB_POSTGRES_BIN?)", .0.display())]
    NotThere(PathBuf),

    /// We are root, PostgreSQL refuses to be, and there is nobody else to run it as.
    #[error(
        "PostgreSQL refuses to run as root, and /etc/passwd names neither `postgres` nor `nobody` to run it as"
    )]
    NoAccount,

    /// No temporary directory lets the account that runs PostgreSQL in.
    #[error("`{account}`, which runs PostgreSQL because we are root, cannot enter any of {}", list(.tried))]
    Unreachable {
        /// The account's name.
        account: String,
        /// The directories that were considered.
        tried: Vec<PathBuf>,
    },

    /// The operating system refused something.
    #[error("could not {action}")]
    System {
        /// What we tried.
        action: String,
        /// What it said.
        #[source]
        source: std::io::Error,
    },

    /// A program of PostgreSQL ended although it should not have.
    #[error("`{program}` failed ({status}); the end of its log:\n{log}")]
    Failed {
        /// `postgres` or one of its tools.
        program: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
        /// The last lines it wrote.
        log: String,
    },

    /// A program of PostgreSQL took too long.
    #[error("`{program}` was not done after {waited:?}; the end of its log:\n{log}")]
    Late {
        /// `postgres` or one of its tools.
        program: &'static str,
        /// How long we waited.
        waited: Duration,
        /// The last lines it wrote.
        log: String,
    },

    /// A running server refused something.
    #[error("could not {action}")]
    Database {
        /// What we tried.
        action: String,
        /// What it said.
        #[source]
        source: tokio_postgres::Error,
    },

    /// A running server did not answer in time.
    #[error("could not {action} within {waited:?}")]
    Silent {
        /// What we tried.
        action: String,
        /// How long we waited.
        waited: Duration,
    },

    /// The migrations failed on a new database.
    #[error("could not migrate the template database")]
    Migrate(#[source] crate::Error),
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
            _ => None,
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| format!("`{}`", path.display())).collect::<Vec<_>>().join(", ")
}
