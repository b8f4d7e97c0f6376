//! `kill_to_rerun_p50` and `_p99`: the time from a `kill -9` until an event that the worker had started and not finished starts
//! again. `rerun_after_kill_events` and `_ms`: the events that the worker had finished and that run again, and how much of its
//! time they were worth.

use crate::databases::database;
use crate::figures::{figure, percentile};
use crate::load::Load;
use crate::records::{Aftermath, now};
use crate::work::Work;
use crate::worker::Worker;
use pubsub::testing::Server;
use std::time::Duration;

/// The events that a worker finishes before it is killed, and the most time between that and the kill.
const SHARE: usize = 200;
const MOMENT: Duration = Duration::from_millis(500);

pub(crate) async fn run(server: &Server, prefix: &str, work: Work, times: usize) {
    let url = database(server, &format!("{prefix}kills")).await;
    let load = Load::start(&url, work).await;
    let mut kills = Vec::new();
    for number in 1..=times {
        let mut worker = Worker::start(number, &url, work, &load.records);
        worker.warm(&load.records, SHARE).await;
        tokio::time::sleep(MOMENT.mul_f64(fastrand::f64())).await;
        let killed = now();
        worker.kill();
        kills.push((number, killed));
        load.until_taken_over(worker.pid()).await;
    }
    let records = load.records.clone();
    load.end().await;

    let records = records.all();
    let (mut reruns, mut repeats, mut worth) = (Vec::new(), Vec::new(), Vec::new());
    for (number, killed) in kills {
        let aftermath = Aftermath::of(&records, number, killed, Duration::MAX);
        assert_eq!(aftermath.lost, 0, "everything runs again");
        reruns.extend(aftermath.reruns.iter().map(|after| after.as_secs_f64() * 1e3));
        repeats.push(aftermath.repeats.len() as f64);
        let oldest = aftermath.repeats.iter().max().copied().unwrap_or_default();
        worth.push(oldest.as_secs_f64() * 1e3);
    }
    assert!(!reruns.is_empty(), "the worker was killed while it had work");
    let figure = |name: &str, value, unit| figure(&format!("{prefix}{name}"), value, unit);
    figure("kill_events", reruns.len() as f64, "events");
    figure("kill_to_rerun_p50", percentile(&mut reruns, 0.50), "ms");
    figure("kill_to_rerun_p99", percentile(&mut reruns, 0.99), "ms");
    figure("rerun_after_kill_events", percentile(&mut repeats, 0.50), "events");
    figure("rerun_after_kill_events_max", percentile(&mut repeats, 1.00), "events");
    figure("rerun_after_kill_ms", percentile(&mut worth, 0.50), "ms");
    figure("rerun_after_kill_ms_max", percentile(&mut worth, 1.00), "ms");
}
