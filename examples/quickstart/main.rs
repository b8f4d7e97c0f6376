//! The quickstart: a small actix-web shop that tells the outside world what happened in it, through PostgreSQL.
//!
//! `cargo run --example quickstart` serves it, `cargo run --example quickstart -- --demo` shows it off once and ends.
//!
//! Read in this order: `events` (what is published), `routes` (published from where), `subscribers` (what acts on it),
//! `shop` (wired up and taken down). The rest is stage machinery.

mod args;
mod database;
mod demo;
mod events;
mod input;
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
use std::error::Error;
use std::process::ExitCode;

/// What ends the quickstart early: one sentence, and its causes.
type Failed = Box<dyn Error>;

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
async fn serve(shop: shop::Shop, database: &database::Home) -> Result<(), Failed> {
    let told_to_stop = shop::told_to_stop()?;
    screen::invite(shop.address, database);
    told_to_stop.await;
    shop.close().await?;
    screen::headline("Closed: every delivery that had begun is finished.");
    Ok(())
}
