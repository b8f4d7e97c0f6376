//! sqlxmq: messages that are updated to claim them and deleted to settle them, woken by NOTIFY.

use crate::contender::{Contender, Program, Setting};
use crate::handler::{Handling, UPDATE, handle};
use crate::job::Job;
use crate::library::{Library, Publisher, Stop};
use crate::order::Order;
use crate::workload::Workload;
use ::sqlxmq::{CurrentJob, JobBuilder, JobRunnerOptions};
use anyhow::Result;
use async_trait::async_trait;
use sqlx_0_8::postgres::{PgPool, PgPoolOptions};
use std::time::Duration;

const COUNT: &str = "select count(*) from mq_msgs where id <> uuid_nil()";

pub(super) const CONTENDER: Contender = Contender {
    name: "sqlxmq",
    program: Program::Rust(&Sqlxmq),
    published: COUNT,
    unsettled: COUNT,
    refuses: &[(Workload::Bulk, "it has no call for many: each message is a statement")],
    settings: &[Setting {
        setting: "50 to 100 jobs at once: \"larger batch sizes are more efficient\"",
        source: "the documentation of `JobRunnerOptions::set_concurrency`",
    }],
    lacks: &[
        "several consumers of one event: the publisher spawns a job for each",
        "a log that can be read again",
        "publishing in bulk",
    ],
};

const CONNECTIONS: u32 = 20;

/// The names of the consumers' channels and jobs.
const CONSUMERS: [&str; 3] = ["consumer_0", "consumer_1", "consumer_2"];

/// The migrations that users of the crate copy among their own.
const MIGRATIONS: &str = include_str!(concat!(env!("OUT_DIR"), "/sqlxmq.sql"));

struct Sqlxmq;

#[async_trait(?Send)]
impl Library for Sqlxmq {
    async fn install(&self, job: &Job) -> Result<()> {
        sqlx_0_8::raw_sql(MIGRATIONS).execute(&pool(job, 1).await?).await?;
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Spawner { pool: pool(job, job.connections as u32).await?, consumers: job.consumers }))
    }

    async fn work(&self, job: &Job) -> Result<Stop> {
        let pool = pool(job, CONNECTIONS).await?;
        let mut runners = Vec::new();
        for channel in &CONSUMERS[..job.consumers] {
            let mut options = JobRunnerOptions::new(&pool, |job| drop(tokio::spawn(work(job))));
            options.set_concurrency(50, 100).set_channel_names(&[channel]);
            runners.push(options.run().await?);
        }
        Ok(Box::pin(async move {
            for runner in &mut runners {
                runner.stop().await;
                runner.wait_jobs_finish(Duration::from_secs(10)).await;
            }
            Ok(())
        }))
    }
}

async fn pool(job: &Job, connections: u32) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(connections).connect(&job.url).await?)
}

/// Runs a job. One that fails is not completed, and therefore retried.
async fn work(mut job: CurrentJob) -> Result<()> {
    let consumer = job.name().trim_start_matches("consumer_").parse()?;
    let Some(Order { order, .. }) = job.json()? else { anyhow::bail!("the job has no payload") };
    let handling = Handling::of_process()?;
    if !handling.settles() {
        handle(consumer, order).await?;
        job.complete().await?;
        return Ok(());
    }
    handling.tally.enter(order);
    let mut transaction = job.pool().begin().await?;
    sqlx_0_8::query(UPDATE).bind(order as i64).execute(&mut *transaction).await?;
    job.complete_with_transaction(transaction).await?;
    handling.tally.finish(consumer, order);
    Ok(())
}

struct Spawner {
    pool: PgPool,
    consumers: usize,
}

#[async_trait(?Send)]
impl Publisher for Spawner {
    async fn publish(&self, _: usize, order: &Order) -> Result<()> {
        for consumer in &CONSUMERS[..self.consumers] {
            JobBuilder::new(consumer).set_channel_name(consumer).set_json(order)?.spawn(&self.pool).await?;
        }
        Ok(())
    }

    async fn publish_all(&self, connection: usize, orders: &[Order]) -> Result<()> {
        for order in orders {
            self.publish(connection, order).await?;
        }
        Ok(())
    }
}
