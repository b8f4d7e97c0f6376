//! `pubsub schema`: lock files and schemas of payloads.

mod export;
mod lock;

use clap::Subcommand;
use std::error::Error;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    /// Write the lock files: from then on, a change that breaks a payload fails the build.
    Lock(lock::Lock),
    /// Fail if a lock file is missing or out of date. For CI.
    Check(lock::Check),
    /// Write the schemas that were declared in a database, for publishers and subscribers in other languages.
    Export(export::Export),
}

impl Schema {
    pub(crate) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        match self {
            Self::Lock(lock) => lock.run(),
            Self::Check(check) => check.run(),
            Self::Export(export) => export.run(),
        }
    }
}
