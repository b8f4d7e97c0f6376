//! `publish_8_with_…` and `paced_8_with_…`: what fifty processes that sleep cost whoever publishes.
//!
//! Four states, in turn within each run: no process; fifty that sleep on another channel; one that sleeps on the channel that
//! is published to, and handles its events when they come; and fifty that share them. In each, publishers once do as much as
//! they can, which leaves the machine nothing for anybody else, and once a little, which leaves it mostly idle.
//!
//! The fifty live in one thread, apart from the publishers'.

use crate::publishing::{one_by_one, paced};
use crate::{Order, RUNS, connect, database, figure, median, percentile};
use actix::System;
use futures_util::future::join_all;
use pubsub::testing::Server;
use pubsub::{Channel, Delivery, PubSub};
use serde::{Deserialize, Serialize};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

const PROCESSES: usize = 50;
const PUBLISHERS: usize = 8;

/// After the last process has fallen asleep for the first time: each looks around once more after its listener connected.
const SETTLED: Duration = Duration::from_secs(2);

/// What nobody publishes.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("quiet")]
struct Quiet {}

const STATES: [&str; 4] = ["none", "50_idle_elsewhere", "1_idle_here", "50_idle_here"];

/// How the publishers fared in one of them.
#[derive(Debug, Default)]
struct Fared {
    /// Events per second, as many as they can.
    rates: Vec<f64>,
    /// Milliseconds for one publish, at their leisure.
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Fared {
    async fn measure(&mut self, url: &str) {
        self.rates.push(one_by_one(url, PUBLISHERS).await);
        let mut latencies = paced(url, PUBLISHERS).await;
        self.p50.push(percentile(&mut latencies, 0.50));
        self.p99.push(percentile(&mut latencies, 0.99));
    }
}

pub(crate) async fn run(server: &Server) {
    let mut fared: [Fared; 4] = Default::default();
    for run in 0..RUNS {
        let url = database(server, &format!("idle_{run}")).await;
        let declaring = PubSub::builder(&url).declare::<Order>().start().await.expect("a runtime");
        declaring.drain(Duration::from_secs(10)).await;
        fared[0].measure(&url).await;
        let starts: [fn(String) -> Sleepers; 3] = [
            |url| Sleepers::start::<Quiet>(url, PROCESSES),
            |url| Sleepers::start::<Order>(url, 1),
            |url| Sleepers::start::<Order>(url, PROCESSES),
        ];
        for (start, fared) in starts.into_iter().zip(&mut fared[1..]) {
            let sleepers = start(url.clone());
            sleepers.asleep(&url).await;
            fared.measure(&url).await;
            sleepers.stop();
        }
    }
    let mut rates = Vec::new();
    for (state, fared) in STATES.into_iter().zip(fared) {
        rates.push(median(fared.rates));
        figure(&format!("publish_8_with_{state}"), rates[rates.len() - 1], "events/s");
        figure(&format!("paced_8_with_{state}_p50"), median(fared.p50), "ms");
        figure(&format!("paced_8_with_{state}_p99"), median(fared.p99), "ms");
    }
    figure("publish_8_with_50_idle_elsewhere_ratio", rates[1] / rates[0], "of none");
    figure("publish_8_with_1_idle_here_ratio", rates[2] / rates[0], "of none");
    figure("publish_8_with_50_idle_here_ratio", rates[3] / rates[2], "of one here");
}

/// Processes that share a subscription, in a thread of their own.
struct Sleepers {
    number: usize,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sleepers {
    /// To a channel of `C`.
    fn start<C: Channel>(url: String, number: usize) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            System::new().block_on(async move {
                let start = async |_| {
                    // One connection to work with, one to beat and one to listen: fifty times that is what the server
                    // allows.
                    let builder = PubSub::builder(&url).connections(1);
                    builder
                        .subscribe_fn("sleeper", async |_: Delivery<C>| Ok(()))
                        .start()
                        .await
                        .expect("a runtime")
                };
                let processes: Vec<PubSub> = join_all((0..number).map(start)).await;
                stopped.await.expect("the benchmark says when");
                join_all(processes.iter().map(|process| process.drain(Duration::from_secs(30)))).await;
            });
        });
        Self { number, stop, thread }
    }

    async fn asleep(&self, url: &str) {
        let client = connect(url).await;
        let asleep = "select count(*) from pubsub.waiters";
        while client.query_one(asleep, &[]).await.expect("a count").get::<_, i64>(0) < self.number as i64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        tokio::time::sleep(SETTLED).await;
    }

    fn stop(self) {
        self.stop.send(()).expect("the processes live");
        self.thread.join().expect("the processes stop");
    }
}
