//! The log under test: two channels, three subscriptions and counters per key, and runs of random load over them.

use std::fmt;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::checker::{Ledger, Report};
use crate::claimers::Claimer;
use crate::database::{Database, Result};
use crate::load::{Load, Progress};
use crate::publishers::Publisher;
use crate::subscriptions::{Consumers, KEYS, OBSERVED, OTHER, Subscription};

const PUBLISHERS: usize = 10;

/// The outcome of a run of random load.
pub(crate) struct Run {
    effort: String,
    pub(crate) reports: Vec<Report>,
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.effort)?;
        self.reports.iter().try_for_each(|report| write!(f, "\n  {report}"))
    }
}

pub(crate) struct TestLog {
    pub(crate) database: Database,
    pub(crate) admin: Client,
    pub(crate) process: i64,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) ledger: Arc<Ledger>,
}

impl TestLog {
    pub(crate) async fn set_up() -> Result<Self> {
        let database = Database::create().await?;
        let admin = database.connect().await?;
        admin
            .batch_execute(&format!(
                "create table key_counters (key integer primary key, n integer not null);
                 insert into key_counters select key, 0 from generate_series(1, {KEYS}) key;
                 select pubsub.declare_channel('{OBSERVED}');
                 select pubsub.declare_channel('{OTHER}')"
            ))
            .await?;
        let process = admin.query_one("select pubsub.register_process('localhost', 1, 'test')", &[]).await?;
        let mut subscriptions = Vec::new();
        for (name, kind, consumers) in [
            ("alone", Consumers::Single, 1),
            ("competing", Consumers::Competing, 4),
            ("publishing", Consumers::Publishing, 2),
        ] {
            let id = admin.query_one("select pubsub.subscribe($1, $2)", &[&OBSERVED, &name]).await?.get(0);
            subscriptions.push(Subscription { id, name, kind, consumers });
        }
        Ok(Self { database, admin, process: process.get(0), subscriptions, ledger: Arc::default() })
    }

    /// Loads the log until the load is reached and everything is claimed, and checks all deliveries so far.
    pub(crate) async fn run(&self, load: Load) -> Result<Run> {
        let consumers = self.subscriptions.iter().map(|subscription| subscription.consumers).sum::<usize>();
        let mut clients = Vec::new();
        for _ in 0..PUBLISHERS + consumers {
            clients.push(self.database.connect().await?);
        }
        // The clock starts after everybody has connected.
        let progress = Progress::start(load);
        let mut publishers = Vec::new();
        for (number, client) in clients.drain(..PUBLISHERS).enumerate() {
            publishers.push(Publisher::new(client, number, load, &progress).await?);
        }
        let mut claimers = Vec::new();
        for subscription in &self.subscriptions {
            for client in clients.drain(..subscription.consumers) {
                let number = claimers.len();
                claimers.push(
                    Claimer::new(client, number, *subscription, self.process, load, &progress, &self.ledger)
                        .await?,
                );
            }
        }

        let mut tasks = JoinSet::new();
        publishers.into_iter().for_each(|publisher| drop(tasks.spawn(publisher.run())));
        claimers.into_iter().for_each(|claimer| drop(tasks.spawn(claimer.run())));
        // The first error ends the run: dropping the set ends the other tasks.
        while let Some(finished) = tasks.join_next().await {
            finished??;
        }
        let effort = progress.to_string();
        Ok(Run { effort, reports: self.ledger.check(&self.admin, &self.subscriptions).await? })
    }

    /// The numbers of leases, mailbox rows and dead letters that are left.
    pub(crate) async fn leftovers(&self) -> Result<(i64, i64, i64)> {
        let row = self
            .admin
            .query_one(
                "select (select count(*) from pubsub.leases),
                        (select count(*) from pubsub.mailbox),
                        (select count(*) from pubsub.dead_letters)",
                &[],
            )
            .await?;
        Ok((row.get(0), row.get(1), row.get(2)))
    }
}
