//! awa: append-only ready and done entries in partitions that rotate, and leases in a ring.

use crate::contender::{Contender, Program, Setting};
use crate::handler::handle;
use crate::job::Job;
use crate::library::{Library, Publisher, Stop};
use crate::order::Order;
use crate::workload::Workload;
use ::awa::model::{InsertParams, QueueStorage, QueueStorageConfig, insert::params_with, migrations};
use ::awa::{Client, InsertOpts, JobArgs, JobContext, JobError, JobResult, QueueConfig, insert_with};
use anyhow::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sqlx_0_8::postgres::{PgPool, PgPoolOptions};
use std::time::Duration;

pub(super) const CONTENDER: Contender = Contender {
    name: "awa",
    program: Program::Rust(&Awa),
    published: "select count(*) from awa.jobs",
    unsettled: "select count(*) from awa.jobs where state <> 'completed'",
    refuses: &[(Workload::UpdateAndSettle, "a handler cannot settle its job in a transaction of its own")],
    settings: &[
        Setting {
            setting: "100 jobs at once, a poll every 50 ms, no deadline, 20 connections",
            source: "tests/benchmark_test.rs, queue storage",
        },
        Setting {
            setting: "`enqueue_params_copy` for many",
            source: "the documentation of `insert_many_copy`: for high-volume producers",
        },
    ],
    lacks: &[
        "several consumers of one event: the publisher inserts a job for each",
        "a log that can be read again",
        "rerun within seconds after the death of a process: 90 seconds by default",
        "settling in the handler's transaction",
    ],
};

const CONNECTIONS: u32 = 20;

#[derive(Debug, Serialize, Deserialize, JobArgs)]
#[awa(kind = "bench")]
#[serde(transparent)]
struct AwaOrder {
    order: Order,
}

struct Awa;

#[async_trait(?Send)]
impl Library for Awa {
    async fn install(&self, job: &Job) -> Result<()> {
        let pool = pool(job, CONNECTIONS).await?;
        migrations::run(&pool).await?;
        // The first start chooses the storage of a fresh database.
        let client = client(pool, job)?;
        client.start().await?;
        client.shutdown(Duration::from_secs(10)).await;
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Producer {
            pool: pool(job, job.connections as u32).await?,
            storage: QueueStorage::new(QueueStorageConfig::default())?,
            consumers: job.consumers,
        }))
    }

    async fn work(&self, job: &Job) -> Result<Stop> {
        let client = client(pool(job, CONNECTIONS).await?, job)?;
        client.start().await?;
        Ok(Box::pin(async move {
            client.shutdown(Duration::from_secs(10)).await;
            Ok(())
        }))
    }
}

async fn pool(job: &Job, connections: u32) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(connections).connect(&job.url).await?)
}

fn client(pool: PgPool, job: &Job) -> Result<Client> {
    let mut builder = Client::builder(pool);
    for consumer in 0..job.consumers {
        let config = QueueConfig {
            max_workers: job.concurrency.unwrap_or(100) as u32,
            poll_interval: Duration::from_millis(50),
            deadline_duration: Duration::ZERO,
            ..QueueConfig::default()
        };
        builder = builder.queue(queue_name(consumer), config);
    }
    Ok(builder.register::<AwaOrder, _, _>(work).build()?)
}

fn queue_name(consumer: usize) -> String {
    format!("consumer_{consumer}")
}

fn work(
    args: AwaOrder,
    context: &JobContext,
) -> impl Future<Output = Result<JobResult, JobError>> + Send + use<> {
    let consumer = context.job.queue.trim_start_matches("consumer_").parse::<usize>();
    async move {
        let consumer = consumer.map_err(JobError::retryable)?;
        let handled = handle(consumer, args.order.order).await;
        handled.map_err(JobError::retryable_msg)?;
        Ok(JobResult::Completed)
    }
}

struct Producer {
    pool: PgPool,
    storage: QueueStorage,
    consumers: usize,
}

fn options(consumer: usize) -> InsertOpts {
    InsertOpts { queue: queue_name(consumer), ..InsertOpts::default() }
}

#[async_trait(?Send)]
impl Publisher for Producer {
    async fn publish(&self, _: usize, order: &Order) -> Result<()> {
        if self.consumers > 1 {
            return self.publish_all(0, std::slice::from_ref(order)).await;
        }
        insert_with(&self.pool, &AwaOrder { order: order.clone() }, options(0)).await?;
        Ok(())
    }

    async fn publish_all(&self, _: usize, orders: &[Order]) -> Result<()> {
        let mut jobs: Vec<InsertParams> = Vec::new();
        for consumer in 0..self.consumers {
            for order in orders {
                jobs.push(params_with(&AwaOrder { order: order.clone() }, options(consumer))?);
            }
        }
        self.storage.enqueue_params_copy(&self.pool, &jobs).await?;
        Ok(())
    }
}
