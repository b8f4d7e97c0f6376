//! Publishers that go on whatever happens, and know of each event whether it committed, failed, or may have done either.

use crate::history::{Outcome, Publication};
use crate::ledger::KEYS;
use crate::progress::Progress;
use crate::record::now;
use crate::worker::{Fact, OldFact};
use pubsub::{Backoff, Channel, PublishOptions, publish_all, publish_with};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls, Transaction};

const PUBLISHERS: usize = 4;

/// The longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// With the events of more seconds before a subscription, publishers wait.
const MOST_BACKLOG: f64 = 1.2;

/// Transactions per second, of all publishers.
const TRANSACTIONS: f64 = 80.0;

/// One transaction in this many publishes its events all at once, the others one by one.
const AT_ONCE: u32 = 4;

/// The most events that a transaction publishes one by one.
const MOST_ONE_BY_ONE: i64 = 5;

/// The application name of publishers' sessions.
pub(crate) const APPLICATION: &str = "publisher";

type AnyError = Box<dyn std::error::Error>;

/// The publishers of a run.
#[derive(Debug)]
pub(crate) struct Publishers {
    url: String,
    progress: Rc<RefCell<Progress>>,
    next: Cell<i64>,
    /// The most events that a transaction publishes at once.
    most_at_once: i64,
    /// With more events before a subscription, publishers wait.
    most_backlog: usize,
    over: Cell<bool>,
    running: RefCell<Vec<JoinHandle<()>>>,
    /// The number of poisonous events to publish.
    poison: Cell<u32>,
}

impl Publishers {
    /// Starts publishers on a database, at this rate in events per second.
    pub(crate) fn start(url: &str, rate: f64, progress: &Rc<RefCell<Progress>>) -> Rc<Self> {
        let url = format!("{url}&application_name={APPLICATION}");
        let publishers = Rc::new(Self {
            url,
            progress: Rc::clone(progress),
            next: Cell::new(1),
            most_at_once: most_at_once(rate),
            most_backlog: (rate * MOST_BACKLOG) as usize,
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
        let pause = Duration::from_secs_f64(PUBLISHERS as f64 / TRANSACTIONS);
        while !self.over.get() {
            let connecting = tokio::time::timeout(PATIENCE, tokio_postgres::connect(&self.url, NoTls)).await;
            let Ok(Ok((mut client, connection))) = connecting else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            actix::spawn(connection);
            while !self.over.get() && self.publish(&mut client).await {
                tokio::time::sleep(pause.mul_f64(2.0 * fastrand::f64())).await;
                while self.progress.borrow().backlog() > self.most_backlog && !self.over.get() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
    }

    /// Publishes a few events of one key in a transaction. Returns whether the connection is still good.
    async fn publish(&self, client: &mut Client) -> bool {
        let at_once = fastrand::u32(..AT_ONCE) == 0;
        let count = fastrand::i64(1..=if at_once { self.most_at_once } else { MOST_ONE_BY_ONE });
        let first = self.next.replace(self.next.get() + count);
        let poison = self.poison.get() > 0;
        if poison {
            self.poison.set(self.poison.get() - 1);
        }
        let from = now();
        let facts = Facts { numbers: first..first + count, poison, at_once };
        let outcome = self.try_to_publish(client, &facts).await;
        let mut progress = self.progress.borrow_mut();
        for Fact { n, poison } in facts.each() {
            progress.published(Publication { n, from, to: now(), outcome, poison });
        }
        if poison && outcome != Outcome::Acked {
            self.poison.set(self.poison.get() + 1);
        }
        outcome == Outcome::Acked
    }

    async fn try_to_publish(&self, client: &mut Client, facts: &Facts) -> Outcome {
        let inserting = tokio::time::timeout(PATIENCE, insert(client, facts)).await;
        let Ok(Ok(transaction)) = inserting else { return Outcome::Failed };
        match tokio::time::timeout(PATIENCE, transaction.commit()).await {
            Ok(Ok(())) => Outcome::Acked,
            // Whatever the error: the commit was sent.
            _ => Outcome::Unknown,
        }
    }
}

/// The most events that transactions which publish all at once need for this rate in events per second.
fn most_at_once(rate: f64) -> i64 {
    let one_by_one = (MOST_ONE_BY_ONE + 1) as f64 / 2.0;
    let mean = f64::from(AT_ONCE) * rate / TRANSACTIONS - f64::from(AT_ONCE - 1) * one_by_one;
    (2.0 * mean - 1.0).max(1.0) as i64
}

/// The events of a transaction.
#[derive(Debug)]
struct Facts {
    numbers: Range<i64>,
    /// Whether the first kills the process of every handler.
    poison: bool,
    at_once: bool,
}

impl Facts {
    fn each(&self) -> impl Iterator<Item = Fact> {
        self.numbers.clone().map(|n| Fact { n, poison: self.poison && n == self.numbers.start })
    }
}

async fn insert<'a>(client: &'a mut Client, facts: &Facts) -> Result<Transaction<'a>, AnyError> {
    let key = fastrand::i32(1..=KEYS);
    let transaction = client.transaction().await?;
    match facts.at_once {
        true => insert_at_once(&transaction, key, facts).await?,
        false => insert_one_by_one(&transaction, key, facts).await?,
    }
    Ok(transaction)
}

async fn insert_one_by_one(transaction: &Transaction<'_>, key: i32, facts: &Facts) -> Result<(), AnyError> {
    for fact in facts.each() {
        // Publishers of one key wait for each other here.
        let next = "update faults.keys set seq = seq + 1 where key = $1 returning seq";
        let seq: i64 = transaction.query_one(next, &[&key]).await?.get(0);
        let options = PublishOptions::new().key(key.to_string());
        // One in four publishers is of the old release.
        let event = match fastrand::u32(..4) {
            0 => publish_with(transaction, &OldFact(fact.n, fact.poison), &options).await?,
            _ => publish_with(transaction, &fact, &options).await?,
        };
        let committed = "insert into faults.committed (n, key, seq, event) values ($1, $2, $3, $4)";
        transaction.execute(committed, &[&fact.n, &key, &seq, &event.id().0]).await?;
    }
    Ok(())
}

async fn insert_at_once(transaction: &Transaction<'_>, key: i32, facts: &Facts) -> Result<(), AnyError> {
    let count = facts.numbers.end - facts.numbers.start;
    let next = "update faults.keys set seq = seq + $2 where key = $1 returning seq - $2";
    let before: i64 = transaction.query_one(next, &[&key, &count]).await?.get(0);
    let events: Vec<_> = facts.each().map(|fact| KeyedFact { fact, key: key.to_string() }).collect();
    publish_all(transaction, &events).await?;
    let committed = "insert into faults.committed (n, key, seq, event)
                     select (payload ->> 'n')::bigint, $1, $2 + row_number() over (order by id), id
                       from pubsub.db_events
                      where xid = pg_current_xact_id()";
    transaction.execute(committed, &[&key, &before]).await?;
    Ok(())
}

/// A fact with its key, which [`publish_all`] asks the event for.
#[derive(Debug, Serialize, Deserialize)]
struct KeyedFact {
    #[serde(flatten)]
    fact: Fact,
    #[serde(skip)]
    key: String,
}

impl Channel for KeyedFact {
    const NAME: &'static str = Fact::NAME;
    const VERSION: u32 = Fact::VERSION;
    const FINGERPRINT: u64 = Fact::FINGERPRINT;
    const MAX_ATTEMPTS: u32 = Fact::MAX_ATTEMPTS;
    const BACKOFF: Backoff = Fact::BACKOFF;

    fn key(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.key))
    }
}
