//! `drain`: one handler actor, which does nothing, handles a backlog in one process. The time runs from the runtime's start
//! until the last answer is settled and the runtime has stopped.

use crate::databases::{connect, database};
use crate::figures::{RUNS, figure, median};
use crate::order::Order;
use actix::prelude::*;
use pubsub::testing::Server;
use pubsub::{Delivery, Handled, PubSub, publish_all};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The backlog.
const EVENTS: u64 = 100_000;

struct Idler {
    seen: Arc<AtomicU64>,
    done: Arc<Notify>,
}

impl Actor for Idler {
    type Context = Context<Self>;
}

impl Handler<Delivery<Order>> for Idler {
    type Result = Handled;

    fn handle(&mut self, _: Delivery<Order>, _: &mut Self::Context) -> Handled {
        if self.seen.fetch_add(1, Ordering::Relaxed) + 1 == EVENTS {
            self.done.notify_one();
        }
        Ok(())
    }
}

pub(crate) async fn run(server: &Server) {
    let mut rates = Vec::new();
    for run in 0..RUNS {
        let url = database(server, &format!("drain_{run}")).await;
        // Subscribed first, so that the backlog is its own.
        start(&url).await.0.drain(Duration::from_secs(10)).await;
        let orders: Vec<Order> = (0..EVENTS).map(Order::new).collect();
        let client = connect(&url).await;
        publish_all(&client, &orders).await.expect("the backlog");
        for settle in ["vacuum analyze", "checkpoint"] {
            client.batch_execute(settle).await.expect("a settled server");
        }

        let began = Instant::now();
        let (pubsub, done) = start(&url).await;
        done.notified().await;
        assert!(pubsub.drain(Duration::from_secs(10)).await, "all is settled");
        rates.push(EVENTS as f64 / began.elapsed().as_secs_f64());
    }
    figure("drain", median(rates), "events/s");
}

async fn start(url: &str) -> (PubSub, Arc<Notify>) {
    let (seen, done) = (Arc::new(AtomicU64::new(0)), Arc::new(Notify::new()));
    let notify = Arc::clone(&done);
    let pubsub = PubSub::builder(url)
        .subscribe::<Order, _>("idler", move || Idler { seen: Arc::clone(&seen), done: Arc::clone(&notify) })
        .start()
        .await
        .expect("a runtime");
    (pubsub, done)
}
