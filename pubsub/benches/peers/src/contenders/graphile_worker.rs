//! graphile_worker: a queue whose jobs are updated to claim them and deleted to settle them, woken by NOTIFY.

use crate::contender::{Contender, Program, Setting};
use crate::handler::handle;
use crate::job::Job;
use crate::library::{Library, Publisher, Stop};
use crate::order::Order;
use crate::workload::Workload;
use anyhow::Result;
use async_trait::async_trait;
use graphile_worker::tokio_postgres::TokioPostgresDatabase;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, Worker, WorkerContext,
    WorkerOptions, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

const COUNT: &str = "select count(*) from graphile_worker._private_jobs";

pub(super) const CONTENDER: Contender = Contender {
    name: "graphile_worker",
    program: Program::Rust(&GraphileWorker),
    published: COUNT,
    unsettled: COUNT,
    refuses: &[(Workload::UpdateAndSettle, "a handler cannot settle its job in a transaction of its own")],
    settings: &[
        Setting {
            setting: "feature `driver-tokio-postgres`, 20 connections",
            source: "docs/src/configuration/runtime-drivers.md",
        },
        Setting {
            setting: "concurrency 16, a local queue, `complete_job_batch_delay` 5 ms",
            source: "docs/src/configuration/worker-options.md, throughput-oriented worker",
        },
        Setting {
            setting: "500 jobs in the local queue",
            source: "the performance page of Graphile Worker for Node",
        },
        Setting {
            setting: "at 100 events per second: concurrency 10, no local queue, no batches",
            source: "docs/src/guides/local-queue.md: simpler for rare jobs; both trade latency for throughput",
        },
    ],
    lacks: &[
        "several consumers of one event: the publisher adds a job for each",
        "a log that can be read again",
        "rerun within seconds after the death of a process: off by default",
        "settling in the handler's transaction",
    ],
};

const CONNECTIONS: usize = 20;

/// The rate from which a worker is set up for throughput.
const BUSY: u32 = 1_000;

/// The identifiers of the consumers' tasks.
const TASKS: [&str; 3] = ["consumer_0", "consumer_1", "consumer_2"];

/// An event for one consumer. Its type is the consumer, because a task has a type of its own.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Task<const CONSUMER: usize>(Order);

impl<const CONSUMER: usize> TaskHandler for Task<CONSUMER> {
    const IDENTIFIER: &'static str = TASKS[CONSUMER];

    async fn run(self, _: WorkerContext) -> impl IntoTaskHandlerResult {
        handle(CONSUMER, self.0.order).await.map_err(|error| error.to_string())
    }
}

struct GraphileWorker;

#[async_trait(?Send)]
impl Library for GraphileWorker {
    async fn install(&self, job: &Job) -> Result<()> {
        options(job, 2)?.init().await?;
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        let worker = options(job, job.connections)?.init().await?;
        Ok(Box::new(Utils { utils: worker.create_utils(), consumers: job.consumers, _worker: worker }))
    }

    async fn work(&self, job: &Job) -> Result<Stop> {
        let options = options(job, CONNECTIONS)?;
        let options = if job.rate.is_some_and(|rate| rate < BUSY) {
            options.concurrency(10)
        } else {
            options
                .concurrency(job.concurrency.unwrap_or(16))
                .local_queue(LocalQueueConfig::default().with_size(500))
                .complete_job_batch_delay(Duration::from_millis(5))
        };
        let worker = Arc::new(options.init().await?);
        let running = tokio::spawn({
            let worker = Arc::clone(&worker);
            async move { worker.run().await }
        });
        Ok(Box::pin(async move {
            worker.request_shutdown();
            running.await??;
            Ok(())
        }))
    }
}

fn options(job: &Job, connections: usize) -> Result<WorkerOptions> {
    Ok(WorkerOptions::default()
        .database(TokioPostgresDatabase::from_url(&job.url, connections)?)
        .listen_os_shutdown_signals(false)
        .define_job::<Task<0>>()
        .define_job::<Task<1>>()
        .define_job::<Task<2>>())
}

struct Utils {
    utils: WorkerUtils,
    consumers: usize,
    _worker: Worker,
}

#[async_trait(?Send)]
impl Publisher for Utils {
    async fn publish(&self, _: usize, order: &Order) -> Result<()> {
        if self.consumers > 1 {
            return self.publish_all(0, std::slice::from_ref(order)).await;
        }
        self.utils.add_job(Task::<0>(order.clone()), JobSpec::default()).await?;
        Ok(())
    }

    async fn publish_all(&self, _: usize, orders: &[Order]) -> Result<()> {
        let mut jobs = Vec::new();
        for task in &TASKS[..self.consumers] {
            for order in orders {
                jobs.push(RawJobSpec {
                    identifier: (*task).into(),
                    payload: serde_json::to_value(order)?,
                    spec: JobSpec::default(),
                });
            }
        }
        self.utils.add_raw_jobs(&jobs).await?;
        Ok(())
    }
}
