//! Publishers that go on whatever happens, and know of each event whether it committed, failed, or may have done either.

use crate::history::{Outcome, Publication};
use crate::ledger::KEYS;
use crate::progress::Progress;
use crate::record::now;
use crate::worker::{Fact, OldFact};
use pubsub::{PublishOptions, publish_with};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, Transaction};

const PUBLISHERS: usize = 4;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// With more events before a subscription, publishers wait.
const MOST_BACKLOG: usize = 300;

/// The application name of publishers' sessions.
pub(crate) const APPLICATION: &str = "publisher";

type AnyError = Box<dyn std::error::Error>;

/// The publishers of a run.
#[derive(Debug)]
pub(crate) struct Publishers {
    url: String,
    progress: Rc<RefCell<Progress>>,
    next: Cell<i64>,
    /// The average pause between two transactions of one publisher.
    pause: Duration,
    over: Cell<bool>,
    running: RefCell<Vec<JoinHandle<()>>>,
    /// The number of poisonous events to publish.
    poison: Cell<u32>,
}

impl Publishers {
    /// Starts publishers on a database, at this rate in events per second.
    pub(crate) fn start(url: &str, rate: f64, progress: &Rc<RefCell<Progress>>) -> Rc<Self> {
        // Each transaction publishes three events on average.
        let pause = Duration::from_secs_f64(3.0 * PUBLISHERS as f64 / rate);
        let url = format!("{url}&application_name={APPLICATION}");
        let publishers = Rc::new(Self {
            url,
            progress: Rc::clone(progress),
            next: Cell::new(1),
            pause,
            over: Cell::new(false),
            running: RefCell::default(),
            poison: Cell::new(0),
        });
        let running = (0..PUBLISHERS).map(|_| actix::spawn(Rc::clone(&publishers).run()));
        publishers.running.replace(running.collect());
        publishers
    }

    /// Stops publishing, and waits until the last transaction has ended.
    pub(crate) async fn stop(&self) {
        self.over.set(true);
        let running = self.running.take();
        for publisher in running {
            publisher.await.expect("no publisher panics");
        }
    }

    /// Publishes an event that kills the process of every handler.
    pub(crate) fn poison(&self) {
        self.poison.set(self.poison.get() + 1);
    }

    async fn run(self: Rc<Self>) {
        while !self.over.get() {
            let connecting = tokio::time::timeout(PATIENCE, tokio_postgres::connect(&self.url, NoTls)).await;
            let Ok(Ok((mut client, connection))) = connecting else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            actix::spawn(connection);
            while !self.over.get() && self.publish(&mut client).await {
                let pause = self.pause.mul_f64(2.0 * fastrand::f64());
                tokio::time::sleep(pause).await;
                while self.progress.borrow().backlog() > MOST_BACKLOG && !self.over.get() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Publishes a few events of one key in a transaction. Returns whether the connection is still good.
    async fn publish(&self, client: &mut Client) -> bool {
        let count = fastrand::i64(1..=5);
        let first = self.next.replace(self.next.get() + count);
        let poison = self.poison.get() > 0;
        if poison {
            self.poison.set(self.poison.get() - 1);
        }
        let from = now();
        let outcome = self.try_to_publish(client, first..first + count, poison).await;
        let mut progress = self.progress.borrow_mut();
        for n in first..first + count {
            let poison = poison && n == first;
            progress.published(Publication { n, from, to: now(), outcome, poison });
        }
        if poison && outcome != Outcome::Acked {
            self.poison.set(self.poison.get() + 1);
        }
        outcome == Outcome::Acked
    }

    async fn try_to_publish(
        &self,
        client: &mut Client,
        events: std::ops::Range<i64>,
        poison: bool,
    ) -> Outcome {
        let inserting = tokio::time::timeout(PATIENCE, insert(client, events, poison)).await;
        let Ok(Ok(transaction)) = inserting else { return Outcome::Failed };
        match tokio::time::timeout(PATIENCE, transaction.commit()).await {
            Ok(Ok(())) => Outcome::Acked,
            // Whatever the error: the commit was sent.
            _ => Outcome::Unknown,
        }
    }
}

async fn insert(
    client: &mut Client,
    events: std::ops::Range<i64>,
    poison: bool,
) -> Result<Transaction<'_>, AnyError> {
    let key = fastrand::i32(1..=KEYS);
    let transaction = client.transaction().await?;
    let first = events.start;
    for n in events {
        // Publishers of one key wait for each other here.
        let next = "update faults.keys set seq = seq + 1 where key = $1 returning seq";
        let seq: i64 = transaction.query_one(next, &[&key]).await?.get(0);
        let (options, poison) = (PublishOptions::new().key(key.to_string()), poison && n == first);
        // One in four publishers is of the old release.
        let event = match fastrand::u32(..4) {
            0 => publish_with(&transaction, &OldFact(n, poison), &options).await?,
            _ => publish_with(&transaction, &Fact { n, poison }, &options).await?,
        };
        let committed = "insert into faults.committed (n, key, seq, event) values ($1, $2, $3, $4)";
        transaction.execute(committed, &[&n, &key, &seq, &event.id().0]).await?;
    }
    Ok(transaction)
}
