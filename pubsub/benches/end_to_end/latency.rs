//! `latency_idle_p50` and `_p99`: from a publish's commit to the handler's entry, 50 times a second, one at a time.

use crate::{Order, RUNS, connect, database, figure, median, percentile};
use pubsub::testing::Server;
use pubsub::{Delivery, PubSub, publish};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Events of one run, and how many of them before the measuring begins.
const EVENTS: u64 = 500;
const WARM_UP: u64 = 50;

/// Between two publishes.
const PACE: Duration = Duration::from_millis(20);

pub(crate) async fn run(server: &Server) {
    let (mut p50, mut p99) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let mut latencies = measure(&database(server, &format!("latency_{run}")).await).await;
        p50.push(percentile(&mut latencies, 0.50));
        p99.push(percentile(&mut latencies, 0.99));
    }
    figure("latency_idle_p50", median(p50), "ms");
    figure("latency_idle_p99", median(p99), "ms");
}

async fn measure(url: &str) -> Vec<f64> {
    let (sender, mut entered) = mpsc::unbounded_channel();
    let pubsub = PubSub::builder(url)
        .subscribe_fn("clock", move |order: Delivery<Order>| {
            let now = Instant::now();
            sender.send((order.order, now)).expect("the benchmark listens");
            async { Ok(()) }
        })
        .start()
        .await
        .expect("a runtime");
    let client = connect(url).await;
    let mut latencies = Vec::new();
    let mut pace = tokio::time::interval(PACE);
    for n in 0..EVENTS {
        pace.tick().await;
        publish(&client, &Order::new(n)).await.expect("a publish");
        let committed = Instant::now();
        let (order, entered) = entered.recv().await.expect("the handler lives");
        assert_eq!(order, n, "one at a time");
        if n >= WARM_UP {
            // The handler may be entered before the commit's answer has reached us.
            latencies.push(entered.saturating_duration_since(committed).as_secs_f64() * 1e3);
        }
    }
    pubsub.drain(Duration::from_secs(10)).await;
    latencies
}
