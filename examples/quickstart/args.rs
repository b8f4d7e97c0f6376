//! The command line.

use clap::Parser;

/// The default port.
const PORT: u16 = 8080;

/// A small shop that publishes events: actix-web, PostgreSQL, pubsub.
///
/// It starts a PostgreSQL server of its own and deletes it at the end. With DATABASE_URL set, it uses that database instead, and
/// touches only the schemas `pubsub` and `quickstart`. If that is a pooler in transaction mode, DIRECT_DATABASE_URL names the server.
#[derive(Debug, Parser)]
#[command(name = "quickstart")]
pub(crate) struct Args {
    /// Run the whole story once, print a summary, and end
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
