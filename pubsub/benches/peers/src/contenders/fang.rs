//! fang: tasks that are updated one by one to claim them and deleted to settle them, found by polling.

use crate::contender::{Contender, Program, Setting};
use crate::database::connect;
use crate::handler::handle;
use crate::job::Job;
use crate::library::{Library, Publisher, Stop};
use crate::order::Order;
use crate::workload::Workload;
use ::fang::asynk::async_queue::{AsyncQueue, AsyncQueueable};
use ::fang::asynk::async_worker_pool::AsyncWorkerPool;
use ::fang::{AsyncRunnable, FangError, SleepParams, async_trait as fang_async_trait, typetag};
use anyhow::Result;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use std::time::Duration;

const COUNT: &str = "select count(*) from fang_tasks";

pub(super) const CONTENDER: Contender = Contender {
    name: "fang",
    program: Program::Rust(&Fang),
    published: COUNT,
    unsettled: COUNT,
    refuses: &[
        (Workload::Bulk, "it has no call for many: each task is a statement"),
        (Workload::UpdateAndSettle, "a handler cannot settle its task in a transaction of its own"),
    ],
    settings: &[
        Setting {
            setting: "16 workers with a connection each",
            source: "README.md: as many workers as connections of the pool",
        },
        Setting {
            setting: "a sleep of 20 ms instead of 5 s when there is nothing to do",
            source: "README.md, configuring sleep values",
        },
    ],
    lacks: &[
        "several consumers of one event: the publisher inserts a task for each",
        "a log that can be read again",
        "rerun after the death of a process: a task in progress stays so",
        "waking by notification",
        "publishing in bulk, and in the publisher's transaction",
        "settling in the handler's transaction",
    ],
};

const WORKERS: usize = 16;

const SLEEP: Duration = Duration::from_millis(20);

/// The migrations that users of the crate run themselves.
const MIGRATIONS: &str = include_str!(concat!(env!("OUT_DIR"), "/fang.sql"));

/// An event for one consumer, whose type of tasks is its own.
#[derive(Serialize, Deserialize)]
struct Task {
    consumer: usize,
    order: Order,
}

#[typetag::serde]
#[fang_async_trait]
impl AsyncRunnable for Task {
    async fn run(&self, _: &dyn AsyncQueueable) -> Result<(), FangError> {
        let handled = handle(self.consumer, self.order.order).await;
        handled.map_err(|error| FangError { description: error.to_string() })
    }

    fn task_type(&self) -> String {
        task_type(self.consumer)
    }
}

fn task_type(consumer: usize) -> String {
    format!("consumer_{consumer}")
}

struct Fang;

#[async_trait(?Send)]
impl Library for Fang {
    async fn install(&self, job: &Job) -> Result<()> {
        connect(&job.url).await?.batch_execute(MIGRATIONS).await?;
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Queue { queue: queue(job, job.connections).await?, consumers: job.consumers }))
    }

    async fn work(&self, job: &Job) -> Result<Stop> {
        let workers = job.concurrency.unwrap_or(WORKERS);
        for consumer in 0..job.consumers {
            let mut pool: AsyncWorkerPool<AsyncQueue> = AsyncWorkerPool::builder()
                .number_of_workers(workers as u32)
                .queue(queue(job, WORKERS).await?)
                .sleep_params(SleepParams {
                    sleep_period: SLEEP,
                    max_sleep_period: SLEEP,
                    min_sleep_period: SLEEP,
                    sleep_step: Duration::ZERO,
                })
                .task_type(task_type(consumer))
                .build();
            pool.start().await;
        }
        // Workers cannot be stopped: they end with the process.
        Ok(Box::pin(async { Ok(()) }))
    }
}

async fn queue(job: &Job, connections: usize) -> Result<AsyncQueue> {
    let mut queue = AsyncQueue::builder().uri(job.url.as_str()).max_pool_size(connections as u32).build();
    queue.connect().await?;
    Ok(queue)
}

struct Queue {
    queue: AsyncQueue,
    consumers: usize,
}

#[async_trait(?Send)]
impl Publisher for Queue {
    async fn publish(&self, _: usize, order: &Order) -> Result<()> {
        for consumer in 0..self.consumers {
            self.queue.insert_task(&Task { consumer, order: order.clone() }).await?;
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
