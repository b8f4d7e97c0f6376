//! PgBouncer in front of the server: what works through it, and what is refused.

mod faults;
mod modes;
mod traces;

use pubsub::{Builder, Delivery, PubSub, Target};
use pubsub_tests::{PgBouncer, Received, Sms, TestDatabase, probe, sending};

/// A database, and a pooler in front of its server.
struct Pooled {
    db: TestDatabase,
    pooler: PgBouncer,
}

impl Pooled {
    /// `None` if this machine has no PgBouncer.
    async fn new(mode: &str, settings: &str) -> Option<Self> {
        let db = TestDatabase::new().await;
        let pooler = PgBouncer::start(db.url(), mode, settings).await?;
        Some(Self { db, pooler })
    }

    /// The database's URL through the pooler.
    fn url(&self) -> String {
        self.pooler.url(self.db.database.name())
    }

    /// The pooler, and the server behind it.
    fn target(&self) -> Target {
        Target::parse(&self.url()).unwrap().direct(self.db.url()).unwrap()
    }

    fn pubsub(&self) -> Builder {
        PubSub::builder(self.url()).direct(self.db.url())
    }

    /// Starts a runtime that sends the text of each message to the test.
    async fn receive(&self) -> (PubSub, Received<String>) {
        let (sender, received) = probe();
        let handler = sending(sender, |sms: Delivery<Sms>| sms.msg.clone());
        let pubsub = self.pubsub().subscribe_fn("one", handler).start().await.unwrap();
        (pubsub, received)
    }
}
