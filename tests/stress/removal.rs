//! Scripted removals: for each check before a partition leaves the log, the schedule in which events are lost without it.

use std::collections::HashSet;
use std::fmt;

use tokio_postgres::Client;

use crate::database::{Database, Result};
use crate::holes::break_function;
use crate::trimming::{SMALL_PARTITIONS, register};

/// More events than are left in the first of the small partitions.
const BATCH: i32 = 150;

/// The partition of the schedules.
const PARTITION: &str = "end_id = 30000000000";

/// A check before a removal.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Check {
    /// No transaction that could still commit an event of the partition is in flight. Without it the position of a subscription
    /// decides alone, and late commits are lost.
    LateCommits,
    /// No lease holds an event of the partition. Without it a failed event cannot be retried.
    Leases,
}

impl Check {
    pub(crate) const ALL: [Self; 2] = [Self::LateCommits, Self::Leases];

    /// Leaves the check out.
    async fn leave_out(self, client: &Client) -> Result<()> {
        match self {
            Self::LateCommits => {
                let past = "create or replace function pubsub.has_claimed_all(c pubsub.cursors, partition pubsub.partitions) \
                            returns boolean language sql \
                            return greatest(c.window_position, c.read_sequence) >= partition.end_id - 1";
                client.batch_execute(past).await?;
                let ended = "p.fence <= pg_snapshot_xmin(pg_current_snapshot())";
                break_function(client, "pubsub.close_partitions()", &[(ended, "p.fence is not null")]).await
            }
            Self::Leases => {
                let leases = "NOT l.from_mailbox";
                break_function(client, "pubsub.removal_blockers(pubsub.partitions)", &[(leases, "false")])
                    .await
            }
        }
    }
}

/// The outcome of a schedule.
pub(crate) struct Report {
    /// Whether the partition was still there when the check was at stake, and in the end.
    pub(crate) was_kept: bool,
    pub(crate) is_kept: bool,
    pub(crate) lost: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { was_kept, is_kept, lost } = self;
        write!(f, "the partition was kept: {was_kept}, is kept: {is_kept}, {lost} events lost")
    }
}

/// Plays the schedule of a check, with the check or without it.
pub(crate) async fn play(check: Check, is_checked: bool) -> Result<Report> {
    let database = Database::create().await?;
    let admin = database.connect().await?;
    admin.batch_execute(SMALL_PARTITIONS).await?;
    if !is_checked {
        check.leave_out(&admin).await?;
    }
    let mut consumer = Consumer::new(&admin).await?;
    let late = database.connect().await?;
    late.batch_execute("begin").await?;
    let mut published = publish(&late, 1).await?;
    if let Check::Leases = check {
        late.batch_execute("commit").await?;
    }
    published.extend(publish(&admin, BATCH).await?);

    let failing = match check {
        Check::LateCommits => None,
        Check::Leases => Some(consumer.claim(1).await?),
    };
    consumer.handle_all().await?;
    // Draws the fence of the partition.
    admin.query_one("select pubsub.close_partitions()", &[]).await?;
    if let Check::LateCommits = check {
        late.batch_execute("commit").await?;
    } else {
        published.extend(consumer.pass_partition().await?);
    }
    seal(&admin).await?;
    let was_kept = keeps_after_removal(&admin).await?;

    if let Some(failing) = failing {
        consumer.retry(&failing).await?;
    }
    consumer.handle_all().await?;
    published.extend(consumer.pass_partition().await?);
    let is_kept = keeps_after_removal(&admin).await?;
    let lost = published.difference(&consumer.done).count();
    Ok(Report { was_kept, is_kept, lost })
}

async fn publish(client: &Client, count: i32) -> Result<HashSet<i64>> {
    let insert = "insert into pubsub.db_events (channel, payload)
                  select 'observed', '{}' from generate_series(1, $1) returning id";
    let rows = client.query(insert, &[&count]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Waits until no transaction in flight is older than the fence of the partition. Other databases of the server have some too.
async fn seal(admin: &Client) -> Result<()> {
    let sealed = format!("select sealed_at is not null from pubsub.partitions where {PARTITION}");
    loop {
        admin.query_one("select pubsub.close_partitions()", &[]).await?;
        // It has left already.
        if admin.query_opt(&sealed, &[]).await?.is_none_or(|row| row.get(0)) {
            return Ok(());
        }
    }
}

/// Removes all partitions that may leave. Returns whether that of the schedule stays.
async fn keeps_after_removal(admin: &Client) -> Result<bool> {
    while let Some(statement) =
        admin.query_one("select pubsub.next_removal('0')", &[]).await?.get::<_, Option<String>>(0)
    {
        admin.batch_execute(&statement).await?;
    }
    let kept = format!("select exists (select from pubsub.partitions where {PARTITION})");
    Ok(admin.query_one(&kept, &[]).await?.get(0))
}

/// A claimed batch.
struct Lease {
    token: i64,
    ids: Vec<i64>,
}

struct Consumer<'a> {
    client: &'a Client,
    subscription: i32,
    process: i64,
    done: HashSet<i64>,
}

impl<'a> Consumer<'a> {
    async fn new(client: &'a Client) -> Result<Self> {
        let subscribe = "select pubsub.subscribe('observed', 'alone')";
        let subscription = client.query_one(subscribe, &[]).await?.get(0);
        let process = register(client).await?;
        Ok(Self { client, subscription, process, done: HashSet::new() })
    }

    async fn claim(&self, most: i32) -> Result<Lease> {
        let leases = self.take("select token, id from pubsub.claim($1, $2, $3)", most).await?;
        leases.ok_or_else(|| "nothing was claimed".into())
    }

    async fn take(&self, claim: &str, most: i32) -> Result<Option<Lease>> {
        let rows = self.client.query(claim, &[&self.subscription, &self.process, &most]).await?;
        let ids = rows.iter().map(|row| row.get(1)).collect();
        Ok(rows.first().map(|row| Lease { token: row.get(0), ids }))
    }

    /// Gives a batch back, to be retried at once.
    async fn retry(&self, lease: &Lease) -> Result<()> {
        let settle = "select pubsub.settle($1, $2, null, (
                          select jsonb_agg(jsonb_build_object('id', id, 'action', 'retry')) from unnest($3::bigint[]) id
                      ))";
        let settled: bool =
            self.client.query_one(settle, &[&self.process, &lease.token, &lease.ids]).await?.get(0);
        if settled { Ok(()) } else { Err(format!("lease {} was lost", lease.token).into()) }
    }

    /// Handles everything that can be claimed.
    async fn handle_all(&mut self) -> Result<()> {
        for claim in ["claim", "claim_mailbox"] {
            let claim = format!("select token, id from pubsub.{claim}($1, $2, $3)");
            while let Some(lease) = self.take(&claim, BATCH).await? {
                let settle = "select pubsub.settle($1, $2)";
                self.client.query_one(settle, &[&self.process, &lease.token]).await?;
                self.done.extend(&lease.ids);
            }
        }
        Ok(())
    }

    /// Publishes and handles events until the subscription needs no event of the partition. Returns them.
    async fn pass_partition(&mut self) -> Result<HashSet<i64>> {
        let is_past = format!(
            "select bool_and(pubsub.has_claimed_all(c, p))
               from pubsub.partitions p cross join pubsub.positions() c
              where c.subscription = $1 and {PARTITION}"
        );
        let mut published = HashSet::new();
        while !self
            .client
            .query_one(&is_past, &[&self.subscription])
            .await?
            .get::<_, Option<bool>>(0)
            .unwrap_or(true)
        {
            published.extend(publish(self.client, 1).await?);
            self.handle_all().await?;
        }
        Ok(published)
    }
}
