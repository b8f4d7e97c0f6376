//! apalis with its storage in PostgreSQL: a queue whose jobs are updated to claim and to settle them, and kept.

use crate::contender::{Contender, Program, Setting};
use crate::handler::handle;
use crate::job::Job;
use crate::library::{Library, Publisher, Stop};
use crate::order::Order;
use crate::workload::Workload;
use ::apalis::prelude::*;
use anyhow::Result;
use apalis_postgres::{Config, PgPool, PostgresStorage};
use async_trait::async_trait;
use sqlx::postgres::PgPoolOptions;
use std::cell::RefCell;
use std::time::Duration;

pub(super) const CONTENDER: Contender = Contender {
    name: "apalis-postgres",
    program: Program::Rust(&Apalis),
    published: "select count(*) from apalis.jobs",
    unsettled: "select count(*) from apalis.jobs where status <> 'Done'",
    refuses: &[(Workload::UpdateAndSettle, "a handler cannot settle its task in a transaction of its own")],
    settings: &[
        Setting {
            setting: "the storage with a listener, and a poll every 20 ms besides",
            source: "examples/pubsub.rs, whose interval is 10 s: with it, events of a trickle waited for the heartbeat",
        },
        Setting {
            setting: "`batch_size` 100: \"larger batches can improve throughput\"",
            source: "the documentation of `Config::batch_size`",
        },
    ],
    lacks: &[
        "several consumers of one event: the publisher pushes a task for each",
        "a log that can be read again",
        "rerun within seconds after the death of a process: five minutes by default",
        "settling in the handler's transaction",
    ],
};

const CONNECTIONS: u32 = 20;

/// The tasks of one fetch.
const BATCH: usize = 100;

/// The time between two polls.
const POLL: Duration = Duration::from_millis(20);

struct Apalis;

#[async_trait(?Send)]
impl Library for Apalis {
    async fn install(&self, job: &Job) -> Result<()> {
        PostgresStorage::setup(&pool(job, 1).await?).await?;
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        let pool = pool(job, job.connections as u32).await?;
        let storages =
            |_| (0..job.consumers).map(|consumer| RefCell::new(storage(&pool, consumer))).collect();
        Ok(Box::new(Sinks((0..job.connections).map(storages).collect())))
    }

    async fn work(&self, job: &Job) -> Result<Stop> {
        let pool = pool(job, CONNECTIONS).await?;
        let mut running = Vec::new();
        for consumer in 0..job.consumers {
            let context = WorkerContext::new(&format!("worker_{consumer}"));
            let worker = WorkerBuilder::new(&context)
                .backend(storage(&pool, consumer).with_pubsub().poll_with_interval(POLL))
                .concurrency(job.concurrency.unwrap_or(BATCH))
                .build(move |order: Order| async move {
                    handle(consumer, order.order).await.map_err(|error| BoxDynError::from(error.to_string()))
                });
            running.push((context, tokio::spawn(worker.run())));
        }
        Ok(Box::pin(async move {
            for (context, worker) in running {
                context.stop()?;
                worker.await??;
            }
            Ok(())
        }))
    }
}

async fn pool(job: &Job, connections: u32) -> Result<PgPool> {
    Ok(PgPoolOptions::new().max_connections(connections).connect(&job.url).await?)
}

fn storage(pool: &PgPool, consumer: usize) -> PostgresStorage<Order> {
    let config = Config::default().queue(format!("consumer_{consumer}")).batch_size(BATCH);
    PostgresStorage::new(pool).with_config(config)
}

/// For each connection, a storage for each consumer: a storage is pushed to by one task at a time.
struct Sinks(Vec<Vec<RefCell<PostgresStorage<Order>>>>);

#[async_trait(?Send)]
impl Publisher for Sinks {
    async fn publish(&self, connection: usize, order: &Order) -> Result<()> {
        for storage in &self.0[connection] {
            storage.borrow_mut().push(order.clone()).await?;
        }
        Ok(())
    }

    async fn publish_all(&self, connection: usize, orders: &[Order]) -> Result<()> {
        for storage in &self.0[connection] {
            storage.borrow_mut().push_bulk(orders.to_vec()).await?;
        }
        Ok(())
    }
}
