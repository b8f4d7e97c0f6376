//! `publish_8_with_50_idle_…`: what fifty processes that sleep cost whoever publishes.
//!
//! Four states, in turn within each run: no process; fifty that sleep on another channel; one that sleeps on the channel that
//! is published to, and handles its events when they come; and fifty that share them.

use crate::publishing::one_by_one;
use crate::{Order, RUNS, connect, database, figure, median};
use futures_util::future::join_all;
use pubsub::testing::Server;
use pubsub::{Channel, Delivery, PubSub};
use serde::{Deserialize, Serialize};
use std::time::Duration;

const PROCESSES: usize = 50;
const PUBLISHERS: usize = 8;

/// After the last process has fallen asleep for the first time: each looks around once more after its listener connected.
const SETTLED: Duration = Duration::from_secs(2);

/// What nobody publishes.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("quiet")]
struct Quiet {}

pub(crate) async fn run(server: &Server) {
    let [mut nobody, mut elsewhere, mut one_here, mut here]: [Vec<f64>; 4] = Default::default();
    for run in 0..RUNS {
        let url = database(server, &format!("idle_{run}")).await;
        let declaring = PubSub::builder(&url).declare::<Order>().start().await.expect("a runtime");
        declaring.drain(Duration::from_secs(10)).await;
        nobody.push(one_by_one(&url, PUBLISHERS).await);
        elsewhere.push(with_processes::<Quiet>(&url, PROCESSES).await);
        one_here.push(with_processes::<Order>(&url, 1).await);
        here.push(with_processes::<Order>(&url, PROCESSES).await);
    }
    let [nobody, elsewhere, one_here, here] = [nobody, elsewhere, one_here, here].map(median);
    figure("publish_8_with_none", nobody, "events/s");
    figure("publish_8_with_50_idle_elsewhere", elsewhere, "events/s");
    figure("publish_8_with_1_idle_here", one_here, "events/s");
    figure("publish_8_with_50_idle_here", here, "events/s");
    figure("publish_8_with_50_idle_elsewhere_ratio", elsewhere / nobody, "of none");
    figure("publish_8_with_1_idle_here_ratio", one_here / nobody, "of none");
    figure("publish_8_with_50_idle_here_ratio", here / one_here, "of one here");
}

/// The rate of publishers on the channel of [`Order`] while some processes share a subscription of `C`.
async fn with_processes<C: Channel>(url: &str, number: usize) -> f64 {
    let start = async |_| {
        // One connection to work with, one to beat and one to listen: fifty times that is what the server allows.
        let builder = PubSub::builder(url).connections(1);
        builder.subscribe_fn("sleeper", async |_: Delivery<C>| Ok(())).start().await.expect("a runtime")
    };
    let processes: Vec<PubSub> = join_all((0..number).map(start)).await;
    let client = connect(url).await;
    let asleep = "select count(*) from pubsub.waiters";
    while client.query_one(asleep, &[]).await.expect("a count").get::<_, i64>(0) < number as i64 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(SETTLED).await;
    let rate = one_by_one(url, PUBLISHERS).await;
    join_all(processes.iter().map(|process| process.drain(Duration::from_secs(30)))).await;
    rate
}
