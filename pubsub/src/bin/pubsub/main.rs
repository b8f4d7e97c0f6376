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
    /// What the payloads of this workspace's channels look like.
    #[command(subcommand)]
    Schema(schema::Schema),
}

fn main() -> ExitCode {
    let Arguments { command } = Arguments::parse();
    let ran = match command {
        Command::Schema(schema) => schema.run(),
    };
    ran.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}
