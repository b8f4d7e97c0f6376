//! The counted process: this binary started again.

use crate::databases::connect;
use crate::order::Order;
use crate::workload::Workload;
use actix::prelude::*;
use pubsub::{Delivery, Handled, PubSub, publish, publish_all};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;

/// The environment of a counted process: its workload, its database and the number of events.
const WORKLOAD: &str = "PUBSUB_BENCH_COUNTED_WORKLOAD";
const DATABASE: &str = "PUBSUB_BENCH_COUNTED_DATABASE";
const EVENTS: &str = "PUBSUB_BENCH_COUNTED_EVENTS";

/// The subscription whose backlog is handled.
const SUBSCRIPTION: &str = "counted";

/// The longest drain. Under valgrind a process is some fifty times slower.
const DRAIN: Duration = Duration::from_secs(60);

/// Makes a command start a counted process.
pub(crate) fn give_part(command: &mut Command, workload: Workload, url: &str, events: usize) {
    command.env(WORKLOAD, workload.name()).env(DATABASE, url).env(EVENTS, events.to_string());
}

/// Returns the workload, the database and the events of a counted process; `None` in the benchmark itself.
pub(crate) fn part() -> Option<(Workload, String, usize)> {
    let name = std::env::var(WORKLOAD).ok()?;
    let workload = Workload::ALL.into_iter().find(|workload| workload.name() == name)?;
    Some((workload, std::env::var(DATABASE).ok()?, std::env::var(EVENTS).ok()?.parse().ok()?))
}

pub(crate) async fn run(workload: Workload, url: &str, events: usize) {
    let order = Order::new(17);
    match workload {
        Workload::Sync | Workload::Async => {
            let (pubsub, done) = start(workload, url, events).await;
            done.notified().await;
            assert!(pubsub.drain(DRAIN).await, "all is settled");
        }
        Workload::Publish => {
            let client = connect(url).await;
            for _ in 0..events {
                publish(&client, &order).await.expect("a publish");
            }
        }
        Workload::PublishAll => {
            let orders = std::iter::repeat_n(&order, events);
            publish_all(&connect(url).await, orders).await.expect("a bulk");
        }
    }
}

/// Makes the subscription exist, so that what is published from now on is its backlog.
pub(crate) async fn subscribe(url: &str) {
    start(Workload::Sync, url, 0).await.0.drain(DRAIN).await;
}

async fn start(workload: Workload, url: &str, events: usize) -> (PubSub, Arc<Notify>) {
    let progress = Progress { left: Arc::new(AtomicUsize::new(events)), done: Arc::default() };
    let done = Arc::clone(&progress.done);
    let builder = PubSub::builder(url);
    let builder = if workload == Workload::Async {
        builder.subscribe_fn(SUBSCRIPTION, move |_: Delivery<Order>| {
            let progress = progress.clone();
            async move {
                progress.note();
                Ok(())
            }
        })
    } else {
        builder.subscribe::<Order, _>(SUBSCRIPTION, move || Idler(progress.clone()))
    };
    (builder.start().await.expect("a runtime"), done)
}

/// The events that are still to be handled.
#[derive(Clone)]
struct Progress {
    left: Arc<AtomicUsize>,
    done: Arc<Notify>,
}

impl Progress {
    fn note(&self) {
        if self.left.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.done.notify_one();
        }
    }
}

struct Idler(Progress);

impl Actor for Idler {
    type Context = Context<Self>;
}

impl Handler<Delivery<Order>> for Idler {
    type Result = Handled;

    fn handle(&mut self, _: Delivery<Order>, _: &mut Self::Context) -> Handled {
        self.0.note();
        Ok(())
    }
}
