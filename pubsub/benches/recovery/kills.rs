//! `kill_to_rerun_p50` and `_p99`: from a `kill -9` until an event that the worker had begun and not finished begins again.
//! `rerun_after_kill_events` and `_ms`: what the worker had finished and runs again all the same, and how much of its time
//! that was worth.

use crate::load::{Load, Work};
use crate::tape::{Aftermath, now};
use crate::worker::Worker;
use crate::{database, figure, percentile};
use pubsub::testing::Server;
use std::time::Duration;

/// Events that a worker finishes before its end may come, which comes at most this much later.
const SHARE: usize = 200;
const MOMENT: Duration = Duration::from_millis(500);

pub(crate) async fn run(server: &Server, prefix: &str, work: Work, times: usize) {
    let url = database(server, &format!("{prefix}kills")).await;
    let load = Load::start(&url, work).await;
    let mut kills = Vec::new();
    for player in 1..=times {
        let mut worker = Worker::start(player, &url, work, &load.tape);
        worker.warm(&load.tape, SHARE).await;
        tokio::time::sleep(MOMENT.mul_f64(fastrand::f64())).await;
        let killed = now();
        worker.kill();
        kills.push((player, killed));
        load.until_taken_over(worker.pid()).await;
    }
    let tape = load.tape.clone();
    load.end().await;

    let notes = tape.notes();
    let (mut reruns, mut repeats, mut worth) = (Vec::new(), Vec::new(), Vec::new());
    for (player, killed) in kills {
        let aftermath = Aftermath::of(&notes, player, killed, Duration::MAX);
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
