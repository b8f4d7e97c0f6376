//! Consumers that compete, hold their claims open, lose them, publish inside them, and settle in parts.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio_postgres::{Client, Statement};

use crate::checker::{Delivery, Ledger};
use crate::database::Result;
use crate::load::{Load, Progress, Publishing};
use crate::subscriptions::{Consumers, OBSERVED, Subscription};

/// The claim of every consumer of these tests.
pub(crate) const CLAIM: &str =
    "select token, id, key, (payload ->> 'n')::bigint from pubsub.claim($1, $2, $3)";

/// A batch under its lease.
pub(crate) struct Claim {
    pub(crate) token: i64,
    pub(crate) deliveries: Vec<Delivery>,
}

/// Runs [`CLAIM`]. `None` if there is nothing to read now.
pub(crate) async fn claim(
    client: &Client,
    statement: &Statement,
    subscription: i32,
    process: i64,
    batch: i32,
) -> Result<Option<Claim>> {
    let rows = client.query(statement, &[&subscription, &process, &batch]).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let token = first.get(0);
    let deliveries = rows
        .iter()
        .map(|row| Delivery { id: row.get(1), keyed: row.get::<_, Option<i64>>(3).map(|n| (row.get(2), n)) })
        .collect();
    Ok(Some(Claim { token, deliveries }))
}

pub(crate) struct Claimer {
    client: Client,
    statement: Statement,
    rng: Rng,
    subscription: Subscription,
    process: i64,
    backlogs: bool,
    progress: Arc<Progress>,
    ledger: Arc<Ledger>,
    /// Held by consumers that publish inside their claims, until they stop publishing.
    publishing: Option<Publishing>,
}

impl Claimer {
    pub(crate) async fn new(
        client: Client,
        number: usize,
        subscription: Subscription,
        process: i64,
        load: Load,
        progress: &Arc<Progress>,
        ledger: &Arc<Ledger>,
    ) -> Result<Self> {
        let statement = client.prepare(CLAIM).await?;
        Ok(Self {
            client,
            statement,
            rng: Rng::with_seed(load.seed.wrapping_mul(7_000).wrapping_add(number as u64)),
            subscription,
            process,
            backlogs: load.backlogs && subscription.kind == Consumers::Single,
            progress: Arc::clone(progress),
            ledger: Arc::clone(ledger),
            publishing: (subscription.kind == Consumers::Publishing).then(|| progress.publishing()),
        })
    }

    /// Claims until everything is published and nothing is left.
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            if self.progress.is_enough() {
                self.publishing = None;
            }
            // Read before the claim, so that an empty claim means that nothing is left.
            let all_published = self.progress.is_all_published();
            let outcome = self.claim_in_transaction(all_published).await?;
            self.progress.count_claim(matches!(outcome, Outcome::RolledBack));
            match outcome {
                Outcome::Claimed(claim) => {
                    let ids = claim.deliveries.iter().map(|delivery| delivery.id).collect();
                    self.ledger.record(self.subscription.id, claim.deliveries);
                    self.settle(claim.token, ids).await?;
                }
                Outcome::RolledBack => {}
                Outcome::Empty if all_published => return Ok(()),
                Outcome::Empty => {
                    let pause = Duration::from_millis(self.rng.u64(0..8));
                    tokio::time::sleep(pause).await;
                }
            }
            if self.backlogs && !all_published && self.rng.u32(..100) == 0 {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
        }
    }

    async fn claim_in_transaction(&mut self, all_published: bool) -> Result<Outcome> {
        let batch = self.batch();
        self.client.batch_execute("begin").await?;
        let claim = claim(&self.client, &self.statement, self.subscription.id, self.process, batch).await?;
        if self.publishing.is_some() && self.rng.f64() < 0.3 {
            self.publish_inside_claim().await?;
        }
        if self.rng.f64() < 0.2 {
            let hold = Duration::from_millis(self.rng.u64(0..10));
            tokio::time::sleep(hold).await;
        }
        if !all_published && self.rng.f64() < 0.1 {
            self.client.batch_execute("rollback").await?;
            return Ok(Outcome::RolledBack);
        }
        self.client.batch_execute("commit").await?;
        Ok(claim.map_or(Outcome::Empty, Outcome::Claimed))
    }

    fn batch(&mut self) -> i32 {
        match self.rng.u32(..4) {
            0 => self.rng.i32(1..5),
            1 => self.rng.i32(1..50),
            _ => self.rng.i32(50..800),
        }
    }

    async fn publish_inside_claim(&self) -> Result<()> {
        self.client
            .batch_execute(&format!(
                "insert into pubsub.db_events (channel, payload) values ('{OBSERVED}', '{{}}'), ('{OBSERVED}', '{{}}')"
            ))
            .await?;
        Ok(())
    }

    /// Acknowledges a lease in random parts, in random order.
    async fn settle(&mut self, token: i64, mut ids: Vec<i64>) -> Result<()> {
        self.rng.shuffle(&mut ids);
        while !ids.is_empty() {
            let rest = if self.rng.bool() { 0 } else { self.rng.usize(..ids.len()) };
            let part = ids.split_off(rest);
            // The last part may also be settled as "all the rest".
            let acknowledged = if ids.is_empty() && self.rng.bool() { None } else { Some(part) };
            if !self.settle_part(token, acknowledged).await? {
                return Err(format!("lease {token} was lost before it was settled").into());
            }
        }
        if self.rng.f64() < 0.05 && self.settle_part(token, None).await? {
            return Err(format!("lease {token} was settled twice").into());
        }
        Ok(())
    }

    async fn settle_part(&self, token: i64, acknowledged: Option<Vec<i64>>) -> Result<bool> {
        let settled = self
            .client
            .query_one("select pubsub.settle($1, $2, $3)", &[&self.process, &token, &acknowledged])
            .await?;
        Ok(settled.get(0))
    }
}

enum Outcome {
    Claimed(Claim),
    RolledBack,
    Empty,
}
