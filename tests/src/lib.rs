//! Support for the tests of `pubsub`: a stage per test, signals instead of sleeps, and a deadline on every wait.

use pubsub::testing::Database;
use pubsub::{Builder, Channel, Delivery, PubSub};
use serde::{Deserialize, Serialize};
use std::fmt::Debug;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio_postgres::{Client, NoTls};

/// Longest wait for anything that must happen. Long, so that a slow day fails no test; a test that passes never waits.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A text message: the seed's first channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Channel)]
#[channel("sms", max_attempts = 4, backoff(initial = "20ms", factor = 2.0, max = "200ms", jitter = 0.2))]
pub struct Sms {
    /// What it says.
    pub msg: String,
}

impl Sms {
    /// A message that says `msg`.
    pub fn new(msg: impl Into<String>) -> Self {
        Self { msg: msg.into() }
    }
}

/// A second channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Channel)]
#[channel("email", max_attempts = 2, backoff(initial = "20ms", max = "20ms"))]
pub struct Email {
    /// Whose it is.
    pub receiver: String,
}

/// A database of one test, and a client on it.
#[derive(Debug)]
pub struct Stage {
    /// The database; it goes with the stage, unless the test panics.
    pub database: Database,
    /// The test's own connection.
    pub client: Client,
}

impl Stage {
    /// A fresh database with the schema.
    pub async fn new() -> Self {
        let database = Database::create().await.expect("a database for the test");
        let client = connect(database.url()).await;
        Self { database, client }
    }

    /// Begins a runtime on the database.
    pub fn pubsub(&self) -> Builder {
        PubSub::builder(self.database.url())
    }

    /// Starts a runtime whose handler tells what each message says, and is done.
    pub async fn hear(&self, subscription: &str) -> (PubSub, Heard<String>) {
        self.tell_by(subscription, |sms| sms.msg.clone()).await
    }

    /// Starts a runtime whose handler tells what each message says and at which attempt, and is done.
    pub async fn hear_attempts(&self, subscription: &str) -> (PubSub, Heard<(String, u32)>) {
        self.tell_by(subscription, |sms| (sms.msg.clone(), sms.attempt())).await
    }

    async fn tell_by<T: Send + 'static>(
        &self,
        subscription: &str,
        what: fn(&Delivery<Sms>) -> T,
    ) -> (PubSub, Heard<T>) {
        let (tell, heard) = ear();
        let handler = move |sms: Delivery<Sms>| {
            tell.tell(what(&sms));
            std::future::ready(Ok(()))
        };
        let pubsub = self.pubsub().subscribe_fn(subscription, handler).start().await.expect("a runtime");
        (pubsub, heard)
    }

    /// One number from the database.
    pub async fn count(&self, sql: &str) -> i64 {
        self.client.query_one(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}: {error:?}")).get(0)
    }

    /// Waits until a count is as expected.
    pub async fn until_count(&self, sql: &str, expected: i64) {
        let until = Instant::now() + DEADLINE;
        loop {
            let found = self.count(sql).await;
            if found == expected {
                return;
            }
            assert!(Instant::now() < until, "still {found}, not {expected}, after {DEADLINE:?}: {sql}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until nothing is leased and nothing is in the mailbox.
    pub async fn until_settled(&self) {
        self.until_count(
            "select (select count(*) from pubsub.leases) + (select count(*) from pubsub.mailbox)",
            0,
        )
        .await;
    }
}

/// A connection of the test's own.
pub async fn connect(url: &str) -> Client {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.expect("a connection to the test's database");
    tokio::spawn(connection);
    client
}

/// Waits until a query's answer is true.
pub async fn until(client: &Client, sql: &str) {
    let end = Instant::now() + DEADLINE;
    while !client.query_one(sql, &[]).await.expect("an answer").get::<_, bool>(0) {
        assert!(Instant::now() < end, "still not: {sql}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Where handlers tell the test what they saw.
#[derive(Debug)]
pub struct Heard<T>(mpsc::UnboundedReceiver<T>);

/// The handlers' side of [`Heard`].
#[derive(Debug)]
pub struct Tell<T>(mpsc::UnboundedSender<T>);

impl<T> Clone for Tell<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A way for handlers to tell the test what they saw.
pub fn ear<T>() -> (Tell<T>, Heard<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Tell(sender), Heard(receiver))
}

impl<T> Tell<T> {
    /// Tells the test.
    pub fn tell(&self, what: T) {
        // A test that has ended listens no more.
        self.0.send(what).unwrap_or_default();
    }
}

impl<T: Debug> Heard<T> {
    /// The next thing that is told.
    pub async fn next(&mut self) -> T {
        tokio::time::timeout(DEADLINE, self.0.recv())
            .await
            .expect("something is told in time")
            .expect("a handler lives")
    }

    /// The next `count` things that are told.
    pub async fn take(&mut self, count: usize) -> Vec<T> {
        let mut told = Vec::with_capacity(count);
        for _ in 0..count {
            told.push(self.next().await);
        }
        told
    }

    /// The next `count` things that are told, in their order and not in that of the telling.
    pub async fn take_sorted(&mut self, count: usize) -> Vec<T>
    where
        T: Ord,
    {
        let mut told = self.take(count).await;
        told.sort_unstable();
        told
    }

    /// What has been told and not taken.
    pub fn rest(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}

mod by_hand;
mod listener;
mod moving;
mod mutation;
mod owned;
mod proxy;
mod role;

pub use by_hand::{ByHand, Claimed};
pub use listener::BellListener;
pub use moving::{
    dump, dump_and_restore, go_home, hear_ids, migrated, newer_binaries, newer_server, old_server,
    publish_each, restore, restore_section,
};
pub use mutation::rewrite;
pub use owned::Owned;
pub use proxy::Proxy;
pub use role::{Role, play};
