//! The command line of `pubsub`. One module for each subcommand.

#![expect(clippy::print_stdout, reason = "it is a command line")]

mod schema;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Durable publish/subscribe for actix applications on PostgreSQL.
#[derive(Debug, Parser)]
#[command(name = "pubsub", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shapes of the payloads of channels.
    #[command(subcommand)]
    Schema(schema::Schema),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let ran = match command {
        Command::Schema(schema) => schema.run(),
    };
    ran.unwrap_or_else(|error| {
        eprintln!("error: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

/// Returns an error and its causes on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let links: Vec<String> =
        std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect();
    links.join(": ")
}
