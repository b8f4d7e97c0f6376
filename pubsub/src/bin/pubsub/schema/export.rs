//! `pubsub schema export`.

use clap::{Args, ValueEnum};
use pubsub::schema::SchemaFormat;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The format to write
    #[arg(long, value_enum)]
    format: Format,
    /// Where the channels were declared; the environment's DATABASE_URL unless given
    #[arg(long)]
    database_url: Option<String>,
    /// The file to write; otherwise to standard output
    #[arg(long, short)]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON Schema of every event
    JsonSchema,
    /// Types for TypeScript
    #[value(name = "typescript")]
    TypeScript,
}

impl Export {
    pub(crate) fn run(self) -> Result<ExitCode, Box<dyn Error>> {
        let given = self.database_url.or_else(|| std::env::var("DATABASE_URL").ok());
        let url = given.ok_or("which database? Say --database-url postgres://.., or set DATABASE_URL")?;
        let format = match self.format {
            Format::JsonSchema => SchemaFormat::JsonSchema,
            Format::TypeScript => SchemaFormat::TypeScript,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let text = runtime.block_on(pubsub::schema::export(&url, format))?;
        match self.output {
            Some(path) => std::fs::write(path, text)?,
            None => print!("{text}"),
        }
        Ok(ExitCode::SUCCESS)
    }
}
