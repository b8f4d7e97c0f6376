//! The command line.

use clap::Parser;

/// Where the shop serves unless told otherwise.
const PORT: u16 = 8080;

/// A small shop that publishes what happens in it: actix-web, PostgreSQL, pubsub.
///
/// Starts a PostgreSQL server of its own, deleted at the end. With DATABASE_URL set it uses that database instead, and
/// touches only the schemas `pubsub` and `quickstart` in it.
#[derive(Debug, Parser)]
#[command(name = "quickstart")]
pub(crate) struct Args {
    /// Run through the whole story once, print a summary, and end
    #[arg(long)]
    pub(crate) demo: bool,

    /// Port to serve on, 0 for any free one [default: 8080; with --demo any free one]
    #[arg(long)]
    port: Option<u16>,
}

impl Args {
    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.demo { 0 } else { PORT })
    }
}
