//! A steady load, and the survivor that handles it with the worker.

use crate::databases::connect;
use crate::records::{Record, Records, SURVIVOR, now};
use crate::work::{DEADLINE, Order, Work};
use crate::worker;
use pubsub::{PubSub, publish_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// The time between two bulks of events.
const PACE: Duration = Duration::from_millis(5);

/// A survivor that handles a load.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) records: Records,
    survivor: PubSub,
    client: Client,
    over: Arc<AtomicBool>,
    publishing: JoinHandle<()>,
}

impl Load {
    pub(crate) async fn start(url: &str, work: Work) -> Self {
        let records = Records::default();
        let recorded = records.clone();
        let survivor = worker::serve(url, work, move |order, finished| {
            recorded.add(Record { process: SURVIVOR, order, at: now(), finished });
        })
        .await;
        let over = Arc::new(AtomicBool::new(false));
        let publishing = actix::spawn(publish(connect(url).await, work.rate, Arc::clone(&over)));
        Self { records, survivor, client: connect(url).await, over, publishing }
    }

    /// Waits until a query returns true.
    pub(crate) async fn until(&self, sql: &str) {
        let until = Instant::now() + DEADLINE;
        loop {
            let row =
                self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
            if row.get(0) {
                return;
            }
            assert!(Instant::now() < until, "not in time: {sql}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until the processes with this operating system id are declared dead, and their deliveries are handled.
    pub(crate) async fn until_taken_over(&self, pid: i32) {
        self.until(&format!("select not exists (select from pubsub.processes where os_pid = {pid})")).await;
        self.until("select not exists (select from pubsub.mailbox where crashes > 0)").await;
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Ends the load. A backlog may be left.
    pub(crate) async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        self.publishing.await.expect("all was published");
        assert!(self.survivor.drain(DEADLINE).await, "the survivor finishes");
    }
}

async fn publish(client: Client, rate: u64, over: Arc<AtomicBool>) {
    let mut pace = tokio::time::interval(PACE);
    let bulk = rate * u64::try_from(PACE.as_millis()).expect("short") / 1_000;
    let mut next = 0;
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        let orders: Vec<Order> = (next..next + bulk).map(|order| Order { order }).collect();
        publish_all(&client, &orders).await.expect("a bulk");
        next += bulk;
    }
}
