//! The quickstart: a small actix-web shop that publishes events through PostgreSQL.
//!
//! `cargo run --example quickstart` serves the shop. `cargo run --example quickstart -- --demo` runs a demo and ends.
//!
//! Read in this order: `events` (the payloads), `routes` (the transactions that publish them), `subscribers` (the handlers),
//! `shop` (start and stop). The other files print the story and drive the demo.

mod args;
mod database;
mod demo;
mod events;
mod failed;
mod input;
mod line;
mod narrator;
mod observer;
mod outside;
mod problem;
mod routes;
mod screen;
mod shop;
mod shopper;
mod subscribers;
mod summary;

use args::Args;
use clap::Parser;
use failed::Failed;
use std::process::ExitCode;

#[actix_web::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    narrator::install();
    match run(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            screen::fail(&problem::chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), Failed> {
    let database = database::prepare().await?;
    let shop = shop::open(&database, args.port()).await?;
    if args.demo { demo::run(shop, &database).await } else { serve(shop, &database).await }
}

/// Serves until SIGINT or SIGTERM.
async fn serve(shop: shop::Shop, database: &database::Database) -> Result<(), Failed> {
    screen::invite(shop.address, &database.psql());
    shop.serve().await?;
    screen::headline("Closed: every delivery that had started is finished.");
    Ok(())
}
