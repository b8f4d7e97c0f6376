//! pgmq, in its client for Rust: messages that are updated to read them and deleted to settle them. The reading loop is the
//! application's own.

use crate::contender::{Contender, Program, Setting};
use crate::handler::{Handling, UPDATE, handle};
use crate::job::Job;
use crate::library::{Library, Publisher, Stop};
use crate::order::Order;
use ::pgmq::{Message, PGMQueueExt};
use anyhow::Result;
use async_trait::async_trait;
use futures_util::future::try_join_all;
use sqlx_0_8::postgres::{PgListener, PgPoolOptions};
use std::time::Duration;
use tokio::sync::watch;

pub(super) const CONTENDER: Contender = Contender {
    name: "pgmq",
    program: Program::Rust(&Pgmq),
    published: COUNT,
    unsettled: COUNT,
    refuses: &[],
    settings: &[
        Setting {
            setting: "batches of 100 read and deleted, by 2 loops",
            source: "the benchmarks of pgmq on tembo.io",
        },
        Setting {
            setting: "`send_batch_topic` for three consumers",
            source: "the documentation of `send_batch_topic`",
        },
        Setting {
            setting: "at 100 events per second `enable_notify_insert`, otherwise a poll on the server every 5 ms",
            source: "the documentation of `enable_notify_insert`: for queues that rarely have items",
        },
    ],
    lacks: &[
        "handlers: no retries, no backoff, no dead letters; the application writes the loop",
        "rerun within seconds after the death of a process: when the visibility timeout ends",
        "a log that can be read again, unless messages are archived",
    ],
};

/// All queues exist always, so that one statement counts them.
const COUNT: &str =
    "select (select count(*) from pgmq.q_consumer_0) + (select count(*) from pgmq.q_consumer_1)
                          + (select count(*) from pgmq.q_consumer_2)";

const QUEUES: [&str; 3] = ["consumer_0", "consumer_1", "consumer_2"];

/// The topic of all queues.
const TOPIC: &str = "orders";

const BATCH: i32 = 100;

/// The loops of a consumer. One reads while the other handles.
const LOOPS: usize = 2;

/// The time after which an undeleted message is read again, in seconds.
const VISIBILITY: i32 = 30;

/// The rate from which a worker polls instead of listening.
const BUSY: u32 = 1_000;

/// The time between two polls on the server.
const POLL: Duration = Duration::from_millis(5);

/// The longest wait for a message or a notification.
const WAIT: Duration = Duration::from_secs(1);

struct Pgmq;

#[async_trait(?Send)]
impl Library for Pgmq {
    async fn install(&self, job: &Job) -> Result<()> {
        let pgmq = connect(job, 1).await?;
        pgmq.install_sql_from_embedded().await?;
        for queue in QUEUES {
            pgmq.create(queue).await?;
            pgmq.bind_topic(TOPIC, queue).await?;
            if listens(job) {
                pgmq.enable_notify_insert(queue, Duration::ZERO).await?;
            }
        }
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Sender { pgmq: connect(job, job.connections).await?, consumers: job.consumers }))
    }

    async fn work(&self, job: &Job) -> Result<Stop> {
        let pgmq = connect(job, LOOPS * job.consumers + crate::job::HANDLER_CONNECTIONS).await?;
        let (stop, stopped) = watch::channel(false);
        let mut loops = Vec::new();
        for consumer in 0..job.consumers {
            for _ in 0..LOOPS {
                let listener = match listens(job) {
                    true => Some(pgmq.queue_insert_listener(QUEUES[consumer]).await?),
                    false => None,
                };
                loops.push(tokio::spawn(read(pgmq.clone(), consumer, listener, stopped.clone())));
            }
        }
        Ok(Box::pin(async move {
            stop.send(true)?;
            for ended in loops {
                ended.await??;
            }
            Ok(())
        }))
    }
}

async fn connect(job: &Job, connections: usize) -> Result<PGMQueueExt> {
    // Its own connection demands a password.
    let pool = PgPoolOptions::new().max_connections(connections as u32).connect(&job.url).await?;
    Ok(PGMQueueExt::new_with_pool(pool).await)
}

fn listens(job: &Job) -> bool {
    job.rate.is_some_and(|rate| rate < BUSY)
}

async fn read(
    pgmq: PGMQueueExt,
    consumer: usize,
    mut listener: Option<PgListener>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let queue = QUEUES[consumer];
    while !*stopped.borrow() {
        let messages: Vec<Message<Order>> = match &mut listener {
            None => {
                let (timeout, interval) = (Some(WAIT), Some(POLL));
                let read = pgmq.read_batch_with_poll(queue, VISIBILITY, BATCH, timeout, interval).await?;
                read.unwrap_or_default()
            }
            Some(_) => pgmq.read_batch(queue, VISIBILITY, BATCH).await?,
        };
        if let Some(listener) = listener.as_mut().filter(|_| messages.is_empty()) {
            // A notification may be lost: then the next look is after the timeout.
            if let Ok(notified) = tokio::time::timeout(WAIT, listener.recv()).await {
                notified?;
            }
        }
        settle(&pgmq, consumer, &messages).await?;
    }
    Ok(())
}

async fn settle(pgmq: &PGMQueueExt, consumer: usize, messages: &[Message<Order>]) -> Result<()> {
    let queue = QUEUES[consumer];
    let handling = Handling::of_process()?;
    if handling.settles() {
        try_join_all(messages.iter().map(async |message| {
            handling.tally.enter(message.message.order);
            let mut transaction = pgmq.connection.begin().await?;
            let row = message.message.order as i64;
            sqlx_0_8::query(UPDATE).bind(row).execute(&mut *transaction).await?;
            pgmq.delete_with_cxn(queue, message.msg_id, &mut *transaction).await?;
            transaction.commit().await?;
            handling.tally.finish(consumer, message.message.order);
            anyhow::Ok(())
        }))
        .await?;
    } else if !messages.is_empty() {
        try_join_all(messages.iter().map(|message| handle(consumer, message.message.order))).await?;
        let ids: Vec<i64> = messages.iter().map(|message| message.msg_id).collect();
        pgmq.delete_batch(queue, &ids).await?;
    }
    Ok(())
}

struct Sender {
    pgmq: PGMQueueExt,
    consumers: usize,
}

#[async_trait(?Send)]
impl Publisher for Sender {
    async fn publish(&self, _: usize, order: &Order) -> Result<()> {
        if self.consumers > 1 {
            return self.publish_all(0, std::slice::from_ref(order)).await;
        }
        self.pgmq.send(QUEUES[0], order).await?;
        Ok(())
    }

    async fn publish_all(&self, _: usize, orders: &[Order]) -> Result<()> {
        if self.consumers > 1 {
            self.pgmq.send_batch_topic(TOPIC, orders, None::<&[()]>, 0).await?;
        } else {
            self.pgmq.send_batch(QUEUES[0], orders).await?;
        }
        Ok(())
    }
}
