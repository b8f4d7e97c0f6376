//! riverqueue, the client of River in Rust: a queue whose jobs are updated to claim and to settle them, and kept for a day.

use crate::contender::{Contender, Program, Setting};
use crate::handler::{Handling, UPDATE, handle};
use crate::job::{HANDLER_CONNECTIONS, Job};
use crate::library::{Library, Publisher, Stop};
use crate::order::Order;
use anyhow::{Context, Result};
use async_trait::async_trait;
use riverqueue::migrate::PostgresMigrator;
use riverqueue::{Client, InsertOpts, JobArgs, QueueConfig, WorkContext, WorkOutcome, Workers};
use serde::{Deserialize, Serialize};
use sqlx::postgres::{PgPool, PgPoolOptions};
use std::time::Duration;

const UNSETTLED: &str = "select count(*) from river_job where state <> 'completed'";

pub(super) const CONTENDER: Contender = Contender {
    name: "riverqueue",
    program: Program::Rust(&River),
    published: "select count(*) from river_job",
    unsettled: UNSETTLED,
    refuses: &[],
    settings: &[
        Setting {
            setting: "2,000 jobs at once, where the workload does not say",
            source: "riverqueue.com/docs/benchmarks",
        },
        Setting {
            setting: "`fetch_cooldown` of 1 ms, also for publishers, whose notifications it delays",
            source: "the documentation of `ClientBuilder::fetch_cooldown`",
        },
    ],
    lacks: &[
        "several consumers of one event: the publisher inserts a job for each",
        "a log that can be read again",
        "rerun within seconds after the death of a process: an hour by default",
    ],
};

const CONNECTIONS: u32 = 20;

/// The shortest time between two fetches, and between two notifications of a publisher.
const COOLDOWN: Duration = Duration::from_millis(1);

#[derive(Clone, Debug, Serialize, Deserialize, JobArgs)]
#[river(kind = "bench")]
#[serde(transparent)]
struct RiverOrder {
    order: Order,
}

struct River;

#[async_trait(?Send)]
impl Library for River {
    async fn install(&self, job: &Job) -> Result<()> {
        PostgresMigrator::new(pool(job, 1).await?).migrate_up().await?;
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        let builder = Client::builder(pool(job, job.connections as u32).await?).fetch_cooldown(COOLDOWN);
        let client = builder.build()?;
        Ok(Box::new(Inserter { client, consumers: job.consumers }))
    }

    async fn work(&self, job: &Job) -> Result<Stop> {
        let mut workers = Workers::new();
        workers.add_fn(work)?;
        let mut builder = Client::builder(pool(job, CONNECTIONS + HANDLER_CONNECTIONS as u32).await?)
            .workers(workers)
            .fetch_cooldown(COOLDOWN);
        for consumer in 0..job.consumers {
            let queue = QueueConfig::new(job.concurrency.unwrap_or(2_000)).with_fetch_cooldown(COOLDOWN);
            builder = builder.queue(queue_name(consumer), queue);
        }
        let mut run = builder.build()?.start()?;
        Ok(Box::pin(async move {
            run.stop().await?;
            Ok(())
        }))
    }
}

fn queue_name(consumer: usize) -> String {
    format!("consumer_{consumer}")
}

async fn pool(job: &Job, connections: u32) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(connections).connect(&job.url).await?)
}

async fn work(context: WorkContext, job: riverqueue::Job<RiverOrder>) -> Result<WorkOutcome> {
    let consumer = job.row.queue.trim_start_matches("consumer_").parse()?;
    let order = job.args.order.order;
    let handling = Handling::of_process()?;
    if !handling.settles() {
        handle(consumer, order).await?;
        return Ok(WorkOutcome::Complete);
    }
    handling.tally.enter(order);
    let client = context.client().context("a client works the job")?;
    let pool = client.database().as_postgres().context("its database is PostgreSQL")?.pool().clone();
    let mut transaction = riverqueue::database::begin_postgres(&pool).await?;
    sqlx::query(UPDATE).bind(order as i64).execute(&mut *transaction).await?;
    context.job_complete_tx(&mut transaction).await?;
    transaction.commit().await?;
    handling.tally.finish(consumer, order);
    Ok(WorkOutcome::Complete)
}

struct Inserter {
    client: Client,
    consumers: usize,
}

impl Inserter {
    fn jobs<'a>(&self, orders: &'a [Order]) -> impl Iterator<Item = (RiverOrder, InsertOpts)> + 'a {
        (0..self.consumers).flat_map(move |consumer| {
            orders.iter().map(move |order| {
                (RiverOrder { order: order.clone() }, InsertOpts::default().with_queue(queue_name(consumer)))
            })
        })
    }
}

#[async_trait(?Send)]
impl Publisher for Inserter {
    async fn publish(&self, _: usize, order: &Order) -> Result<()> {
        if self.consumers > 1 {
            return self.publish_all(0, std::slice::from_ref(order)).await;
        }
        let options = InsertOpts::default().with_queue(queue_name(0));
        self.client.insert(RiverOrder { order: order.clone() }).opts(options).await?;
        Ok(())
    }

    async fn publish_all(&self, _: usize, orders: &[Order]) -> Result<()> {
        self.client.insert_many(self.jobs(orders)).await?;
        Ok(())
    }
}
