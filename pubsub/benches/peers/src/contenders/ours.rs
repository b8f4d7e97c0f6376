//! `pubsub` itself, with its default settings. One contender handles events in an actor, the other in an async closure.

use crate::contender::{Contender, Program};
use crate::database::connect;
use crate::handler::{Handling, UPDATE};
use crate::job::Job;
use crate::library::{Library, Publisher, Runtime, Stop};
use crate::order::Order;
use crate::workload::Workload;
use actix::prelude::*;
use anyhow::{Result, ensure};
use async_trait::async_trait;
use pubsub::{Builder, Delivery, Handled, PubSub, SubscribeOptions};
use std::time::Duration;
use tokio_postgres::Client;

const PUBLISHED: &str = "select count(*) * (select count(*) from pubsub.subscriptions) from pubsub.db_events";

const UNSETTLED: &str =
    "select coalesce(sum(o.unread + o.leased + o.waiting), 0)::bigint from pubsub.observed_subscriptions o";

const SAME_PUBLISHER: &str = "publishes as `pubsub` does";
const SAME_HANDLER: &str = "its handler is that of `pubsub`, which awaits too";

pub(super) const ACTOR: Contender = Contender {
    name: "pubsub",
    program: Program::Rust(&Ours { handlers: Handlers::Actor }),
    published: PUBLISHED,
    unsettled: UNSETTLED,
    refuses: &[],
    settings: &[],
    lacks: &[],
};

pub(super) const CLOSURE: Contender = Contender {
    name: "pubsub-async",
    program: Program::Rust(&Ours { handlers: Handlers::Closure }),
    published: PUBLISHED,
    unsettled: UNSETTLED,
    refuses: &[
        (Workload::Publish1, SAME_PUBLISHER),
        (Workload::Publish8, SAME_PUBLISHER),
        (Workload::Publish64, SAME_PUBLISHER),
        (Workload::Bulk, SAME_PUBLISHER),
        (Workload::Update, SAME_HANDLER),
        (Workload::UpdateAndSettle, SAME_HANDLER),
        (Workload::Sleep, SAME_HANDLER),
    ],
    settings: &[],
    lacks: &[],
};

/// The library, with one kind of handlers where they do nothing.
struct Ours {
    handlers: Handlers,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handlers {
    /// An actor whose handler returns at once.
    Actor,
    /// An async closure.
    Closure,
}

#[async_trait(?Send)]
impl Library for Ours {
    async fn install(&self, job: &Job) -> Result<()> {
        pubsub::migrate(job.url.as_str()).await?;
        // A subscription handles what commits after its first start.
        let pubsub = subscribe_all(job, Handlers::Closure)?.start().await?;
        ensure!(pubsub.drain(Duration::from_secs(10)).await, "the runtime did not stop");
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        let mut clients = Vec::new();
        for _ in 0..job.connections {
            clients.push(connect(&job.url).await?);
        }
        Ok(Box::new(Clients(clients)))
    }

    async fn work(&self, job: &Job) -> Result<Stop> {
        let pubsub: PubSub = subscribe_all(job, self.handlers)?.start().await?;
        Ok(Box::pin(async move {
            ensure!(pubsub.drain(Duration::from_secs(10)).await, "the runtime did not stop");
            Ok(())
        }))
    }

    fn runtime(&self) -> Runtime {
        Runtime::Actix
    }
}

struct Clients(Vec<Client>);

#[async_trait(?Send)]
impl Publisher for Clients {
    async fn publish(&self, connection: usize, order: &Order) -> Result<()> {
        pubsub::publish(&self.0[connection], order).await?;
        Ok(())
    }

    async fn publish_all(&self, connection: usize, orders: &[Order]) -> Result<()> {
        pubsub::publish_all(&self.0[connection], orders).await?;
        Ok(())
    }
}

fn subscribe_all(job: &Job, handlers: Handlers) -> Result<Builder> {
    let mut builder = PubSub::builder(job.url.as_str()).declare::<Order>();
    let does_nothing = job.handler == crate::job::Handler::Nothing;
    for consumer in 0..job.consumers {
        let name = format!("consumer_{consumer}");
        let mut options = SubscribeOptions::new();
        if let Some(concurrency) = job.concurrency {
            options = options.concurrency(concurrency);
        }
        builder = if handlers == Handlers::Actor && does_nothing {
            builder.subscribe_with::<Order, _>(name, options, move || Idler { consumer })
        } else {
            builder.subscribe_fn_with(name, options, move |order| handle(consumer, order))
        };
    }
    Ok(builder)
}

/// Does nothing, and says so at once.
struct Idler {
    consumer: usize,
}

impl Actor for Idler {
    type Context = Context<Self>;
}

impl Handler<Delivery<Order>> for Idler {
    type Result = Handled;

    fn handle(&mut self, order: Delivery<Order>, _: &mut Self::Context) -> Handled {
        let handling = Handling::of_process()?;
        handling.tally.enter(order.order);
        handling.tally.finish(self.consumer, order.order);
        Ok(())
    }
}

async fn handle(consumer: usize, order: Delivery<Order>) -> Handled {
    let handling = Handling::of_process()?;
    if !handling.settles() {
        handling.handle(consumer, order.order).await?;
        return Ok(());
    }
    handling.tally.enter(order.order);
    let mut client = handling.pool().get().await?;
    let transaction = client.transaction().await?;
    let update = transaction.prepare_cached(UPDATE).await?;
    transaction.execute(&update, &[&(order.order as i64)]).await?;
    order.settle_in(&transaction).await?;
    transaction.commit().await?;
    handling.tally.finish(consumer, order.order);
    Ok(())
}
