//! Every kind of transaction in which events can be published, committed and rolled back.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio_postgres::Client;

use crate::database::Result;
use crate::load::{Load, Progress, Publishing, Transaction};
use crate::subscriptions::{KEYS, OBSERVED, OTHER};

/// Publishers numbered below this also publish large transactions.
const LARGE_PUBLISHERS: usize = 2;

pub(crate) struct Publisher {
    client: Client,
    rng: Rng,
    number: usize,
    mix: &'static [(Transaction, u32)],
    progress: Arc<Progress>,
    _publishing: Publishing,
    /// The ids of prepared transactions must be unique in the cluster.
    prepared_prefix: String,
    prepared: u64,
}

/// An insert, and the number of its events on the observed channel.
struct Insert {
    sql: String,
    observed: usize,
}

impl Publisher {
    pub(crate) async fn new(
        client: Client,
        number: usize,
        load: Load,
        progress: &Arc<Progress>,
    ) -> Result<Self> {
        let session = client.query_one("select current_database() || '-' || pg_backend_pid()", &[]).await?;
        Ok(Self {
            client,
            rng: Rng::with_seed(load.seed.wrapping_mul(1_000).wrapping_add(number as u64)),
            number,
            mix: load.mix,
            progress: Arc::clone(progress),
            _publishing: progress.publishing(),
            prepared_prefix: session.get(0),
            prepared: 0,
        })
    }

    pub(crate) async fn run(mut self) -> Result<()> {
        while !self.progress.is_enough() {
            let committed = self.publish().await?;
            self.progress.count_transaction(committed);
        }
        Ok(())
    }

    /// Runs one transaction. Returns the number of events that it committed on the observed channel.
    async fn publish(&mut self) -> Result<usize> {
        match self.next_transaction() {
            Transaction::Autocommit => self.autocommit().await,
            Transaction::Held => self.held().await,
            Transaction::Keyed => self.keyed().await,
            Transaction::Once => self.once().await,
            Transaction::Savepoints => self.savepoints().await,
            Transaction::RepeatableRead => self.repeatable_read().await,
            Transaction::TwoPhase => self.two_phase().await,
            Transaction::Long => self.long().await,
            Transaction::Large if self.number < LARGE_PUBLISHERS && self.progress.has_room_for_large() => {
                self.large().await
            }
            Transaction::Large => self.autocommit().await,
        }
    }

    fn next_transaction(&mut self) -> Transaction {
        let total: u32 = self.mix.iter().map(|(_, weight)| weight).sum();
        let mut drawn = self.rng.u32(..total);
        for (transaction, weight) in self.mix {
            if drawn < *weight {
                return *transaction;
            }
            drawn -= weight;
        }
        unreachable!("the number drawn is below the sum of the weights")
    }

    async fn autocommit(&mut self) -> Result<usize> {
        let count = self.rng.usize(1..=3);
        let insert = self.insert(count);
        self.client.batch_execute(&insert.sql).await?;
        Ok(insert.observed)
    }

    async fn held(&mut self) -> Result<usize> {
        let insert = self.insert(1);
        let hold = self.rng.f64() * 0.002;
        self.client.batch_execute(&format!("begin; {}; select pg_sleep({hold}); commit", insert.sql)).await?;
        Ok(insert.observed)
    }

    async fn keyed(&mut self) -> Result<usize> {
        let key = self.rng.i32(1..=KEYS);
        let (before, after) = (self.short_wait(), self.rng.f64() * 0.005);
        let (end, committed) = self.commit_or_rollback(0.85);
        self.client
            .batch_execute(&format!(
                "begin;
                 select pg_current_xact_id();
                 select pg_sleep({before});
                 with counted as (update key_counters set n = n + 1 where key = {key} returning n)
                 insert into pubsub.db_events (channel, key, payload)
                 select '{OBSERVED}', '{key}', jsonb_build_object('n', n) from counted;
                 select pg_sleep({after});
                 {end}"
            ))
            .await?;
        Ok(usize::from(committed))
    }

    async fn once(&mut self) -> Result<usize> {
        // The same for all publishers for three milliseconds, so that several publish most keys at once.
        let moment = "(extract(epoch from clock_timestamp()) * 300)::bigint";
        let publish = if self.rng.bool() {
            format!("pubsub.publish_once('{OBSERVED}', '{{}}', {moment}::text)")
        } else {
            let keys = format!("array(select ({moment} + g)::text from generate_series(0, 2) g)");
            format!("pubsub.publish_all_once('{OBSERVED}', '{{\"{{}}\", \"{{}}\", \"{{}}\"}}', {keys})")
        };
        let (wait, (end, committed)) = (self.short_wait(), self.commit_or_rollback(0.8));
        self.client.batch_execute(&format!("begin; select {publish}; select pg_sleep({wait})")).await?;
        let own = format!(
            "select count(*) from pubsub.db_events e
              where e.xid = pg_current_xact_id_if_assigned() and e.channel = '{OBSERVED}'"
        );
        let published: i64 = self.client.query_one(&own, &[]).await?.get(0);
        self.client.batch_execute(end).await?;
        Ok(if committed { usize::try_from(published).unwrap_or_default() } else { 0 })
    }

    async fn savepoints(&mut self) -> Result<usize> {
        let (first, rolled_back, second) = (self.insert(2), self.insert(3), self.insert(1));
        let (third, fourth) = (self.insert(2), self.insert(1));
        let wait = self.short_wait();
        let (end, committed) = self.commit_or_rollback(0.8);
        self.client
            .batch_execute(&format!(
                "begin;
                 savepoint a; {};
                 savepoint b; {};
                 rollback to b; {};
                 release a;
                 savepoint d; {};
                 select pg_sleep({wait}); {};
                 {end}",
                first.sql, rolled_back.sql, second.sql, third.sql, fourth.sql
            ))
            .await?;
        let kept = first.observed + second.observed + third.observed + fourth.observed;
        Ok(if committed { kept } else { 0 })
    }

    async fn repeatable_read(&mut self) -> Result<usize> {
        let (first, second) = (self.insert(3), self.insert(2));
        let (before, between) = (self.short_wait(), self.short_wait());
        let (end, committed) = self.commit_or_rollback(0.9);
        self.client
            .batch_execute(&format!(
                "begin isolation level repeatable read;
                 select count(*) from pg_class;
                 select pg_sleep({before}); {};
                 select pg_sleep({between}); {};
                 {end}",
                first.sql, second.sql
            ))
            .await?;
        Ok(if committed { first.observed + second.observed } else { 0 })
    }

    async fn two_phase(&mut self) -> Result<usize> {
        let insert = self.insert(3);
        self.prepared += 1;
        let name = format!("{}-{}", self.prepared_prefix, self.prepared);
        self.client
            .batch_execute(&format!(
                "begin; set local pubsub.bell = off; {}; prepare transaction '{name}'",
                insert.sql
            ))
            .await?;
        let wait = self.short_wait() * 3.0;
        tokio::time::sleep(Duration::from_secs_f64(wait)).await;
        let (end, committed) = self.commit_or_rollback(0.8);
        self.client.batch_execute(&format!("{end} prepared '{name}'")).await?;
        Ok(if committed { insert.observed } else { 0 })
    }

    async fn long(&mut self) -> Result<usize> {
        self.client.batch_execute("begin").await?;
        let mut published = 0;
        for _ in 0..self.rng.u32(2..8) {
            let insert = self.insert(5);
            self.client.batch_execute(&insert.sql).await?;
            published += insert.observed;
            let wait = Duration::from_millis(self.rng.u64(0..150));
            tokio::time::sleep(wait).await;
        }
        let (end, committed) = self.commit_or_rollback(0.8);
        self.client.batch_execute(end).await?;
        Ok(if committed { published } else { 0 })
    }

    async fn large(&mut self) -> Result<usize> {
        let count = self.rng.usize(20_000..40_000);
        let (most, rest) = (self.insert(count), self.insert(10));
        self.client
            .batch_execute(&format!("begin; {}; select pg_sleep(0.1); {}; commit", most.sql, rest.sql))
            .await?;
        Ok(most.observed + rest.observed)
    }

    /// Inserts `count` events without a key, one in five of them on the other channel.
    fn insert(&mut self, count: usize) -> Insert {
        let offset = self.rng.usize(0..5);
        Insert {
            sql: format!(
                "insert into pubsub.db_events (channel, payload)
                 select case when (g + {offset}) % 5 = 0 then '{OTHER}' else '{OBSERVED}' end, '{{}}'
                   from generate_series(1, {count}) g"
            ),
            observed: (1..=count).filter(|g| !(g + offset).is_multiple_of(5)).count(),
        }
    }

    /// The seconds to wait inside a transaction: none, or up to 30 ms.
    fn short_wait(&mut self) -> f64 {
        if self.rng.bool() { 0.0 } else { self.rng.f64() * 0.03 }
    }

    fn commit_or_rollback(&mut self, commit_share: f64) -> (&'static str, bool) {
        let commits = self.rng.f64() < commit_share;
        (if commits { "commit" } else { "rollback" }, commits)
    }
}
