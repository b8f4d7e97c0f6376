//! `publish_8_with_…` and `paced_8_with_…`: the cost of fifty sleeping processes for publishers.
//!
//! Each run has four states in turn: no process; fifty that sleep on another channel; one that sleeps on the channel of the
//! publishers and handles its events; and fifty that share them. In each state, publishers once do as much as they can, which
//! keeps the machine busy, and once a little, which leaves it mostly idle.
//!
//! The fifty processes share one thread, apart from the publishers.

use crate::databases::{connect, database};
use crate::figures::{RUNS, figure, median, percentile};
use crate::order::Order;
use crate::publishing::{one_by_one, paced};
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

/// The wait after the last process has fallen asleep: each polls once more after its listener has connected.
const SETTLED: Duration = Duration::from_secs(2);

/// An event that is never published.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("quiet")]
struct Quiet {}

const STATES: [&str; 4] = ["none", "50_idle_elsewhere", "1_idle_here", "50_idle_here"];

/// The figures of the publishers in one state.
#[derive(Debug, Default)]
struct Publishers {
    /// Events per second, without a pace.
    rates: Vec<f64>,
    /// Milliseconds of one publish, with a pace.
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Publishers {
    async fn measure(&mut self, url: &str) {
        self.rates.push(one_by_one(url, PUBLISHERS).await);
        let mut latencies = paced(url, PUBLISHERS).await;
        self.p50.push(percentile(&mut latencies, 0.50));
        self.p99.push(percentile(&mut latencies, 0.99));
    }
}

pub(crate) async fn run(server: &Server) {
    let mut publishers: [Publishers; 4] = Default::default();
    for run in 0..RUNS {
        let url = database(server, &format!("idle_{run}")).await;
        let declaring = PubSub::builder(&url).declare::<Order>().start().await.expect("a runtime");
        declaring.drain(Duration::from_secs(10)).await;
        publishers[0].measure(&url).await;
        let starts: [fn(String) -> Sleepers; 3] = [
            |url| Sleepers::start::<Quiet>(url, PROCESSES),
            |url| Sleepers::start::<Order>(url, 1),
            |url| Sleepers::start::<Order>(url, PROCESSES),
        ];
        for (start, publishers) in starts.into_iter().zip(&mut publishers[1..]) {
            let sleepers = start(url.clone());
            sleepers.asleep(&url).await;
            publishers.measure(&url).await;
            sleepers.stop();
        }
    }
    let mut rates = Vec::new();
    for (state, publishers) in STATES.into_iter().zip(publishers) {
        rates.push(median(publishers.rates));
        figure(&format!("publish_8_with_{state}"), rates[rates.len() - 1], "events/s");
        figure(&format!("paced_8_with_{state}_p50"), median(publishers.p50), "ms");
        figure(&format!("paced_8_with_{state}_p99"), median(publishers.p99), "ms");
    }
    figure("publish_8_with_50_idle_elsewhere_ratio", rates[1] / rates[0], "of none");
    figure("publish_8_with_1_idle_here_ratio", rates[2] / rates[0], "of none");
    figure("publish_8_with_50_idle_here_ratio", rates[3] / rates[2], "of one here");
}

/// Sleeping processes that share a subscription, in one thread.
struct Sleepers {
    number: usize,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sleepers {
    /// Starts processes that subscribe to `C`.
    fn start<C: Channel>(url: String, number: usize) -> Self {
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            System::new().block_on(async move {
                let start = async |_| {
                    // One connection to claim and settle, one to beat and one to listen: the server allows fifty times that.
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
