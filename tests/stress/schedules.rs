//! Scripted schedules: for each known hole, the interleaving of sessions that always leads into it.

use tokio_postgres::{Client, Statement};

use crate::checker::Report;
use crate::claimers::{CLAIM, claim};
use crate::database::Result;
use crate::holes::Hole;
use crate::subscriptions::{OBSERVED, Subscription};
use crate::test_log::TestLog;

/// More than a schedule publishes at a time.
const BATCH: i32 = 100;

/// The schedules use only the subscription whose consumer sees the order.
fn subscription(log: &TestLog) -> Subscription {
    log.subscriptions[0]
}

/// Plays the schedule of a hole and checks the deliveries of all schedules so far.
pub(crate) async fn play(log: &TestLog, hole: Hole) -> Result<Report> {
    match hole {
        Hole::AboveXmax => above_xmax(log).await?,
        Hole::AboveFence => above_fence(log).await?,
        Hole::OwnTransaction => own_transaction(log).await?,
        Hole::TransactionOrder => transaction_order(log).await?,
        Hole::LateCommit => late_commit(log).await?,
    }
    let mut reports = log.ledger.check(&log.admin, &[subscription(log)]).await?;
    Ok(reports.remove(0))
}

/// A window closes over the event of a transaction that is in flight and above the snapshot's xmax.
async fn above_xmax(log: &TestLog) -> Result<()> {
    let consumer = Consumer::new(log).await?;
    until_above_xmax(&consumer, async |late| {
        publish(late).await?;
        consumer.claim().await
    })
    .await
}

/// The same with a transaction that starts while the claim waits for the lock, after the claim's fence was drawn.
async fn above_fence(log: &TestLog) -> Result<()> {
    let consumer = Consumer::new(log).await?;
    until_above_xmax(&consumer, async |late| consumer.claim_after(publish(late)).await).await
}

/// Publishes in a transaction and closes a window over it, until the transaction was above the snapshot's xmax a few times.
///
/// Any other session of the cluster can prevent that: when a transaction that started later finishes first, xmax moves on.
async fn until_above_xmax(
    consumer: &Consumer<'_>,
    publish_and_claim: impl AsyncFn(&Client) -> Result<()>,
) -> Result<()> {
    const TIMES: u32 = 3;
    const ATTEMPTS: u32 = 2_000;
    let late = consumer.log.database.connect().await?;
    let mut above = 0;
    for _ in 0..ATTEMPTS {
        // Without an event to claim, the window's boundary would not be kept.
        publish(&consumer.log.admin).await?;
        late.batch_execute("begin").await?;
        publish_and_claim(&late).await?;
        above += u32::from(consumer.is_above_xmax(&late).await?);
        late.batch_execute("commit").await?;
        consumer.claim().await?;
        if above == TIMES {
            return Ok(());
        }
    }
    Err(format!("the transaction was above xmax only {above} times in {ATTEMPTS} attempts").into())
}

/// A claim waits for the lock while a later transaction finishes, so that its own transaction is below the snapshot's xmax.
/// Then it publishes.
async fn own_transaction(log: &TestLog) -> Result<()> {
    let consumer = Consumer::new(log).await?;
    let later = log.database.connect().await?;
    publish(&log.admin).await?;
    consumer.client.batch_execute("begin").await?;
    consumer.claim_after(async { Ok(later.batch_execute("select pg_current_xact_id()").await?) }).await?;
    publish(&consumer.client).await?;
    consumer.client.batch_execute("commit").await?;
    consumer.claim().await
}

/// The transaction with the lower id publishes second, and both are in one window.
async fn transaction_order(log: &TestLog) -> Result<()> {
    let consumer = Consumer::new(log).await?;
    let older = log.database.connect().await?;
    older.batch_execute("begin; select pg_current_xact_id()").await?;
    publish_counted(&log.admin, 1).await?;
    publish_counted(&older, 2).await?;
    older.batch_execute("commit").await?;
    consumer.claim().await
}

/// The event with the lower id commits second, with a claim in between.
async fn late_commit(log: &TestLog) -> Result<()> {
    let consumer = Consumer::new(log).await?;
    let late = log.database.connect().await?;
    late.batch_execute("begin").await?;
    publish(&late).await?;
    publish(&log.admin).await?;
    consumer.claim().await?;
    late.batch_execute("commit").await?;
    consumer.claim().await
}

async fn publish(client: &Client) -> Result<()> {
    let insert = format!("insert into pubsub.db_events (channel, payload) values ('{OBSERVED}', '{{}}')");
    Ok(client.batch_execute(&insert).await?)
}

/// Publishes event `n` of the schedule's key.
async fn publish_counted(client: &Client, n: i64) -> Result<()> {
    let insert = format!(
        "insert into pubsub.db_events (channel, key, payload)
         values ('{OBSERVED}', 'scheduled', jsonb_build_object('n', {n}))"
    );
    Ok(client.batch_execute(&insert).await?)
}

/// The consumer of a schedule, which records its claims.
struct Consumer<'a> {
    log: &'a TestLog,
    client: Client,
    statement: Statement,
}

impl<'a> Consumer<'a> {
    async fn new(log: &'a TestLog) -> Result<Self> {
        let client = log.database.connect().await?;
        let statement = client.prepare(CLAIM).await?;
        Ok(Self { log, client, statement })
    }

    async fn claim(&self) -> Result<()> {
        let subscription = subscription(self.log).id;
        let claimed = claim(&self.client, &self.statement, subscription, self.log.process, BATCH).await?;
        if let Some(claim) = claimed {
            self.log.ledger.record(subscription, claim.deliveries);
        }
        Ok(())
    }

    /// Claims, and runs `meanwhile` while the claim waits for the lock: after it has drawn its transaction id and before it
    /// takes its snapshot.
    async fn claim_after(&self, meanwhile: impl Future<Output = Result<()>>) -> Result<()> {
        let holder = self.log.database.connect().await?;
        let lock = format!("(hashtext('pubsub.claiming'), {})", subscription(self.log).id);
        holder.batch_execute(&format!("select pg_advisory_lock{lock}")).await?;
        let interfere = async {
            while !is_awaited(&holder).await? {}
            meanwhile.await?;
            Ok(holder.batch_execute(&format!("select pg_advisory_unlock{lock}")).await?)
        };
        tokio::try_join!(self.claim(), interfere)?;
        Ok(())
    }

    /// Whether a transaction is above the xmax of the next window's lower boundary.
    async fn is_above_xmax(&self, transaction: &Client) -> Result<bool> {
        let row = transaction
            .query_one(
                "select pg_current_xact_id() >= pg_snapshot_xmax(c.read_snapshot)
                   from pubsub.cursors c
                  where c.subscription = $1
                  order by c.seq desc
                  limit 1",
                &[&subscription(self.log).id],
            )
            .await?;
        Ok(row.get(0))
    }
}

/// Whether another session waits for our advisory lock.
async fn is_awaited(holder: &Client) -> Result<bool> {
    let row = holder
        .query_one(
            "select exists (
                 select
                   from pg_locks l
                  where l.locktype = 'advisory' and not l.granted and pg_backend_pid() = any (pg_blocking_pids(l.pid))
             )",
            &[],
        )
        .await?;
    Ok(row.get(0))
}
