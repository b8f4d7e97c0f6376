//! `pubsub schema`: what payloads look like.

mod export;

use clap::Subcommand;
use std::error::Error;
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Schema {
    /// Write the schemas that were declared in a database, for publishers and subscribers in other languages.
    Export(export::Export),
}

impl Schema {
    pub(crate) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        match self {
            Self::Export(export) => export.run(),
        }
    }
}
