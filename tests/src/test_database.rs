//! A database for one test.

use crate::channels::Sms;
use crate::deadline::DEADLINE;
use crate::probe::{Received, Sender, probe};
use pubsub::testing::Database;
use pubsub::{Builder, Channel, Delivery, Handled, PubSub};
use std::future::{Ready, ready};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// A database of one test, and a client of it.
#[derive(Debug)]
pub struct TestDatabase {
    /// The database. It is dropped with this value, unless the test panics.
    pub database: Database,
    /// The test's own connection.
    pub client: Client,
}

impl TestDatabase {
    /// Creates a database and installs the schema.
    pub async fn new() -> Self {
        let database = Database::create().await.expect("a database for the test");
        let client = connect(database.url()).await;
        Self { database, client }
    }

    /// Creates one whose processes have the ids 1, 2 and so on, for a test that writes them down. In others they begin at random.
    pub async fn numbered() -> Self {
        let db = Self::new().await;
        count_processes_from_1(&db.client).await;
        db
    }

    /// The database's URL.
    pub fn url(&self) -> &str {
        self.database.url()
    }

    /// Returns a builder of a runtime on the database.
    pub fn pubsub(&self) -> Builder {
        PubSub::builder(self.url())
    }

    /// Starts a runtime whose handler accepts every message and sends its text to the test.
    pub async fn receive(&self, subscription: &str) -> (PubSub, Received<String>) {
        self.receive_with(subscription, |sms| sms.msg.clone()).await
    }

    /// Starts a runtime whose handler accepts every message and sends its text and its attempt to the test.
    pub async fn receive_attempts(&self, subscription: &str) -> (PubSub, Received<(String, u32)>) {
        self.receive_with(subscription, |sms| (sms.msg.clone(), sms.attempt())).await
    }

    async fn receive_with<T: Send + 'static>(
        &self,
        subscription: &str,
        value_of: fn(Delivery<Sms>) -> T,
    ) -> (PubSub, Received<T>) {
        let (sender, received) = probe();
        let handler = sending(sender, value_of);
        let pubsub = self.pubsub().subscribe_fn(subscription, handler).start().await.expect("a runtime");
        (pubsub, received)
    }

    /// Reads one number.
    pub async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Waits until this many sessions of the database wait for a lock.
    pub async fn until_waiting(&self, sessions: i64) {
        let waiting = "select count(*) from pg_stat_activity
                        where datname = current_database() and wait_event_type = 'Lock'";
        self.until_count(waiting, sessions).await;
    }

    /// Waits until a count has the expected value.
    pub async fn until_count(&self, sql: &str, expected: i64) {
        let until = Instant::now() + DEADLINE;
        loop {
            let found = self.count(sql).await;
            if found == expected {
                return;
            }
            if Instant::now() >= until {
                let state = self.state().await;
                panic!("still {found}, not {expected}, after {DEADLINE:?}: {sql}\n{state}");
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Returns the rows of the tables of deliveries, for the message of a test that waits in vain.
    async fn state(&self) -> String {
        let sql = "select 'mailbox ' || (to_jsonb(m) - '{payload, headers, channel, published_at}'::text[])::text
                     from (select * from pubsub.mailbox order by subscription, event_id limit 30) m
                    union all
                   select 'lease ' || to_jsonb(l)::text from (select * from pubsub.leases order by token limit 30) l
                    union all
                   select 'position ' || to_jsonb(c)::text from (select * from pubsub.positions() limit 10) c
                    union all
                   select 'process ' || to_jsonb(p)::text from (select * from pubsub.processes limit 5) p";
        let lines = self.client.query(sql, &[]).await.map(|rows| rows.iter().map(|row| row.get(0)).collect());
        lines.map_or_else(|error| error.to_string(), |lines: Vec<String>| lines.join("\n"))
    }

    /// Registers a process that has always beaten until now: a silence counts only beside one.
    pub async fn witness(&self) {
        let witness = "with witness as (
                           insert into pubsub.processes (host, os_pid, version, resumed_at)
                           values ('witness', 0, 'test', '-infinity')
                           returning id
                       )
                       insert into pubsub.registrations select id from witness";
        self.client.batch_execute(witness).await.expect("a witness");
    }

    /// Waits until no event is leased or in the mailbox.
    pub async fn until_settled(&self) {
        self.until_count(
            "select (select count(*) from pubsub.leases) + (select count(*) from pubsub.mailbox)",
            0,
        )
        .await;
    }
}

/// Lets the first process have the id 1, and the next ones those that follow.
pub async fn count_processes_from_1(owner: &Client) {
    let restart = "select setval('pubsub.processes_id_seq', 1, false)";
    owner.batch_execute(restart).await.expect("the owner may set it");
}

/// Returns a handler that accepts every delivery and sends a value of it to the test.
pub fn sending<C: Channel, T: Send + 'static>(
    sender: Sender<T>,
    value_of: impl Fn(Delivery<C>) -> T + Clone + Send + Unpin + 'static,
) -> impl Fn(Delivery<C>) -> Ready<Handled> + Clone + Send + Unpin + 'static {
    move |delivery| {
        sender.send(value_of(delivery));
        ready(Ok(()))
    }
}

/// Opens a connection to the test's database.
pub async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("a connection to the test's database");
    tokio::spawn(connection);
    client
}

/// Waits until a query returns true.
pub async fn until(client: &Client, sql: &str) {
    let end = Instant::now() + DEADLINE;
    while !client.query_one(sql, &[]).await.expect("an answer").get::<_, bool>(0) {
        assert!(Instant::now() < end, "still false after {DEADLINE:?}: {sql}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
