//! The process of a contender in Rust: does one [`Job`], and talks with the benchmark in lines.
//!
//! It says `ready`, waits for `go`, does its work and says `done`, with the number of published events. A worker goes on until it
//! reads `stop`, and then says `ended`, with the number of calls and of distinct events.

use crate::clock;
use crate::handler::Handling;
use crate::job::{BULK, Job, Role};
use crate::library::{Library, Publisher, Runtime};
use crate::order::Order;
use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader, Lines, Stdin};

/// Does a job. Returns when it is done, or the benchmark has gone away.
pub(crate) fn run(library: &dyn Library, job: &Job) -> Result<()> {
    if library.runtime() == Runtime::Actix {
        return actix::System::new().block_on(perform(library, job));
    }
    // Publishers are all driven by one thread, ours too, and leave the other cores to the server.
    let mut builder = match job.role {
        Role::Work => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    builder.enable_all().build()?.block_on(perform(library, job))
}

async fn perform(library: &dyn Library, job: &Job) -> Result<()> {
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    match job.role {
        Role::Install => {
            library.install(job).await?;
            say("done");
        }
        Role::Work => work(library, job, &mut orders).await?,
        Role::Publish | Role::Bulk | Role::Pace => {
            let publisher = library.publisher(job).await?;
            say("ready");
            listen(&mut orders, "go").await?;
            let published = match job.role {
                Role::Bulk => bulk(&*publisher, job).await?,
                Role::Pace => pace(&*publisher, job).await?,
                _ => publish(&*publisher, job).await?,
            };
            say(&format!("done {published}"));
        }
    }
    Ok(())
}

async fn work(library: &dyn Library, job: &Job, lines: &mut Lines<BufReader<Stdin>>) -> Result<()> {
    let handling = Handling::start(job)?;
    say("ready");
    listen(lines, "go").await?;
    let stop = library.work(job).await?;
    tokio::select! {
        () = handling.tally.completed() => {
            say("done");
            listen(lines, "stop").await?;
        }
        stopped = listen(lines, "stop") => stopped?,
    }
    stop.await?;
    if let Some(file) = &job.times {
        write_times(file, &handling.tally.entered())?;
    }
    say(&format!("ended {} {}", handling.tally.calls(), handling.tally.distinct()));
    Ok(())
}

async fn publish(publisher: &dyn Publisher, job: &Job) -> Result<u64> {
    let began = Instant::now();
    let next = Cell::new(0);
    try_join_all((0..job.connections).map(async |connection| {
        while began.elapsed().as_secs_f64() < job.seconds {
            publisher.publish(connection, &Order::new(next.replace(next.get() + 1))).await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(next.get())
}

async fn bulk(publisher: &dyn Publisher, job: &Job) -> Result<u64> {
    let next = Cell::new(0);
    try_join_all((0..job.connections).map(async |connection| {
        while next.get() < job.events {
            let first = next.replace((next.get() + BULK as u64).min(job.events));
            let orders: Vec<Order> = (first..next.get()).map(Order::new).collect();
            publisher.publish_all(connection, &orders).await?;
        }
        anyhow::Ok(())
    }))
    .await?;
    Ok(job.events)
}

/// Publishes each event at its moment, or as soon after it as a connection is free.
async fn pace(publisher: &dyn Publisher, job: &Job) -> Result<u64> {
    let rate = job.rate.context("a paced publisher has a rate")?;
    let began = tokio::time::Instant::now();
    let committed: Vec<Cell<u64>> = vec![Cell::new(0); job.events as usize];
    try_join_all((0..job.connections).map(async |connection| {
        for (order, committed) in committed.iter().enumerate().skip(connection).step_by(job.connections) {
            tokio::time::sleep_until(began + Duration::from_secs_f64(order as f64 / f64::from(rate))).await;
            publisher.publish(connection, &Order::new(order as u64)).await?;
            committed.set(clock::now());
        }
        anyhow::Ok(())
    }))
    .await?;
    let file = job.times.as_ref().context("a paced publisher has a file")?;
    write_times(file, &committed.iter().map(Cell::get).collect::<Vec<_>>())?;
    Ok(job.events)
}

fn write_times(file: &Path, times: &[u64]) -> Result<()> {
    let bytes: Vec<u8> = times.iter().flat_map(|time| time.to_le_bytes()).collect();
    std::fs::write(file, bytes).with_context(|| format!("cannot write {}", file.display()))
}

#[expect(clippy::print_stdout, reason = "the benchmark reads it")]
fn say(line: &str) {
    println!("{line}");
}

async fn listen(lines: &mut Lines<BufReader<Stdin>>, expected: &str) -> Result<()> {
    let line = lines.next_line().await?.context("the benchmark has gone away")?;
    ensure!(line == expected, "the benchmark said `{line}` instead of `{expected}`");
    Ok(())
}
