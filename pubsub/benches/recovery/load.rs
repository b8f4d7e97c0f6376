//! A steady load, and the survivor that shares it with the worker.

use crate::tape::{Note, Tape, now};
use crate::{DEADLINE, Order, connect, worker};
use pubsub::{PubSub, publish_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// What there is to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    /// Events per second.
    pub(crate) rate: u64,
    /// What the handler takes for one event in [`SLOW_ONES`]; the others take [`TYPICAL`].
    pub(crate) slow: Duration,
}

pub(crate) const TYPICAL: Duration = Duration::from_millis(20);
pub(crate) const SLOW_ONES: u64 = 20;

/// What keeps three quarters of the survivor's slots at work once it is alone.
pub(crate) const EVEN: Work = Work { rate: 600, slow: TYPICAL };
/// More than the survivor can do alone: there is a backlog, and both hold as much as they may.
pub(crate) const BUSY: Work = Work { rate: 1_000, slow: TYPICAL };
/// Slow events keep their leases open.
pub(crate) const UNEVEN: Work = Work { rate: 250, slow: Duration::from_millis(400) };

/// Between two bulks of events.
const PACE: Duration = Duration::from_millis(5);

/// A survivor at work under load.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) tape: Tape,
    survivor: PubSub,
    client: Client,
    over: Arc<AtomicBool>,
    publishing: JoinHandle<()>,
}

impl Load {
    pub(crate) async fn start(url: &str, work: Work) -> Self {
        let tape = Tape::default();
        let notes = tape.clone();
        let survivor = worker::serve(url, work, move |order, finished| {
            notes.record(Note { player: 0, order, at: now(), finished });
        })
        .await;
        let over = Arc::new(AtomicBool::new(false));
        let publishing = actix::spawn(publish(connect(url).await, work.rate, Arc::clone(&over)));
        Self { tape, survivor, client: connect(url).await, over, publishing }
    }

    /// Waits until a query says true.
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

    /// Waits until the processes that the operating system knows by this id are dead, and what they held has been handled.
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
