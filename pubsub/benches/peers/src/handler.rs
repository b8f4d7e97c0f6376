//! The handler that every contender in Rust runs.

use crate::job::{HANDLER_CONNECTIONS, Handler, Job, NAP};
use crate::tally::Tally;
use anyhow::{Context, Result, anyhow};
use std::sync::OnceLock;

/// A static, because not every peer gives its handlers state.
static HANDLING: OnceLock<Handling> = OnceLock::new();

/// The statement of the handlers that update a row.
pub(crate) const UPDATE: &str = "update touched set times = times + 1 where id = $1";

/// The handlers of this process, and the count of their work.
pub(crate) struct Handling {
    pub(crate) tally: Tally,
    handler: Handler,
    /// The same pool for all, whatever driver the library itself uses.
    pool: deadpool_postgres::Pool,
}

impl Handling {
    /// Prepares the handlers of this process.
    pub(crate) fn start(job: &Job) -> Result<&'static Self> {
        let handling = Self {
            tally: Tally::new(job.events, job.consumers, job.times.is_some()),
            handler: job.handler,
            pool: pubsub::Target::parse(&job.url)?.pool(HANDLER_CONNECTIONS),
        };
        HANDLING.set(handling).map_err(|_| anyhow!("the handlers of a process start once"))?;
        Self::of_process()
    }

    /// The handlers of this process.
    pub(crate) fn of_process() -> Result<&'static Self> {
        HANDLING.get().context("the handlers have not started")
    }

    pub(crate) fn pool(&self) -> &deadpool_postgres::Pool {
        &self.pool
    }

    /// Whether the handlers settle their events themselves, in the transaction of their update.
    pub(crate) fn settles(&self) -> bool {
        self.handler == Handler::UpdateAndSettle
    }

    /// Handles an event as the workload says.
    pub(crate) async fn handle(&self, consumer: usize, order: u64) -> Result<()> {
        self.tally.enter(order);
        match self.handler {
            Handler::Nothing => {}
            Handler::Sleep => tokio::time::sleep(NAP).await,
            Handler::Update => {
                let client = self.pool.get().await?;
                let update = client.prepare_cached(UPDATE).await?;
                client.execute(&update, &[&(order as i64)]).await?;
            }
            Handler::UpdateAndSettle => anyhow::bail!("the library settles in the transaction"),
        }
        self.tally.finish(consumer, order);
        Ok(())
    }
}

/// Handles an event as the workload says, in the handlers of this process.
pub(crate) async fn handle(consumer: usize, order: u64) -> Result<()> {
    Handling::of_process()?.handle(consumer, order).await
}
