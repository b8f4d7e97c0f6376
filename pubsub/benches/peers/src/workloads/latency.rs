//! `latency_100`, `latency_2000` and `latency_5000`: from the commit of a publish until its handler starts.
//!
//! Publishers and the worker are two processes. The handler of an event may start before the commit's answer has reached the
//! publisher, which counts as 0. The processors' times are those of the worker and of the server.

use super::turn::{LIMIT, Measured, Turn};
use crate::child::Child;
use crate::job::Role;
use anyhow::{Context, Result, ensure};
use std::path::Path;

/// The part of the events, from the first, that is not measured.
const WARM_UP: f64 = 0.1;

pub(super) async fn measure(turn: &Turn<'_>) -> Result<Measured> {
    let rate = turn.workload.rate().context("the workload has a rate")?;
    let events = (f64::from(rate) * turn.size.seconds).ceil() as u64;
    let directory = std::env::temp_dir();
    let files =
        ["committed", "entered"].map(|name| directory.join(format!("peers-{}-{name}", std::process::id())));
    let (mut pace, mut work) = (turn.job(Role::Pace), turn.job(Role::Work));
    for (job, file) in [&mut pace, &mut work].into_iter().zip(&files) {
        job.events = events;
        job.times = Some(file.clone());
    }
    let mut worker = Child::start(turn.contender, &work).await?;
    let mut publisher = Child::start(turn.contender, &pace).await?;
    turn.database.settle_down().await?;
    worker.say("go").await?;
    tokio::time::sleep(super::turn::ASLEEP).await;
    let stopwatch = turn.stopwatch(&worker);
    publisher.say("go").await?;
    publisher.listen("done", LIMIT).await?;
    let reached = events as f64 / stopwatch.began.elapsed().as_secs_f64();
    worker.listen("done", LIMIT).await?;
    turn.database.until_none(turn.contender.unsettled, LIMIT).await?;
    let lap = stopwatch.lap(&worker, events);
    publisher.wait().await?;
    let (calls, distinct) = worker.stop().await?;
    ensure!(distinct == events, "{distinct} of {events} events were handled");
    let mut latencies = between(&read(&files[0])?, &read(&files[1])?)?;
    for file in &files {
        std::fs::remove_file(file)?;
    }
    latencies.sort_by(f64::total_cmp);
    let figures = vec![
        percentile(&latencies, 0.50),
        percentile(&latencies, 0.99),
        Some(reached),
        lap.client,
        lap.server,
    ];
    Ok(Measured { figures, repeated: calls - distinct })
}

/// Reads the moments of the events, in nanoseconds.
fn read(file: &Path) -> Result<Vec<u64>> {
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(bytes.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect())
}

/// Returns the milliseconds from the commit of each event until its handler starts, after the warm-up.
fn between(committed: &[u64], entered: &[u64]) -> Result<Vec<f64>> {
    ensure!(committed.len() == entered.len(), "{} commits, {} handlers", committed.len(), entered.len());
    let first = (committed.len() as f64 * WARM_UP) as usize;
    let pairs = committed.iter().zip(entered).skip(first);
    Ok(pairs.map(|(committed, entered)| entered.saturating_sub(*committed) as f64 / 1e6).collect())
}

/// Returns the value below which this share of sorted values lies.
fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_events_are_not_measured_and_no_latency_is_negative() -> Result<()> {
        let committed: Vec<u64> = (1..=10).map(|n| n * 1_000_000).collect();
        let mut entered: Vec<u64> = committed.iter().map(|moment| moment + 2_000_000).collect();
        entered[9] = 0;
        let latencies = between(&committed, &entered)?;
        assert_eq!(latencies.len(), 9);
        assert_eq!((latencies[0], latencies[8]), (2.0, 0.0));
        Ok(())
    }

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let sorted: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!((percentile(&sorted, 0.5), percentile(&sorted, 0.99)), (Some(50.0), Some(99.0)));
        assert_eq!(percentile(&[], 0.5), None);
    }
}
