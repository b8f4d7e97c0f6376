//! `latency_idle_p50` and `_p99`: the time from the commit of a publish until the handler starts, for one event at a time, 50
//! times a second.

use crate::databases::{connect, database};
use crate::figures::{RUNS, figure, median, percentile};
use crate::order::Order;
use pubsub::testing::Server;
use pubsub::{Delivery, PubSub, publish};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The events of one run, and how many of them are not measured.
const EVENTS: u64 = 500;
const WARM_UP: u64 = 50;

/// The time between two publishes.
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
