//! Compares the delivered events with the committed ones.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use tokio_postgres::Client;

use crate::database::Result;
use crate::subscriptions::{Consumers, OBSERVED, Subscription};

/// An event as a consumer received it.
pub(crate) struct Delivery {
    pub(crate) id: i64,
    /// The event's key, and its number among the events of that key.
    pub(crate) keyed: Option<(String, i64)>,
}

/// All deliveries of committed claims by subscription, in the order of recording.
#[derive(Default)]
pub(crate) struct Ledger(Mutex<HashMap<i32, Vec<Delivery>>>);

impl Ledger {
    pub(crate) fn record(&self, subscription: i32, deliveries: Vec<Delivery>) {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.entry(subscription).or_default().extend(deliveries);
    }

    /// Returns one report for each subscription. The report is meaningful only after every committed event has been
    /// claimed.
    pub(crate) async fn check(&self, client: &Client, subscriptions: &[Subscription]) -> Result<Vec<Report>> {
        let committed: HashSet<i64> = client
            .query("select id from pubsub.db_events where channel = $1", &[&OBSERVED])
            .await?
            .iter()
            .map(|row| row.get(0))
            .collect();
        let ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(subscriptions
            .iter()
            .map(|subscription| {
                let deliveries = ledger.get(&subscription.id).map_or(&[][..], Vec::as_slice);
                Report::new(*subscription, &committed, deliveries)
            })
            .collect())
    }
}

/// The outcome of one subscription.
pub(crate) struct Report {
    subscription: &'static str,
    committed: usize,
    delivered: usize,
    /// Committed and never delivered.
    lost: usize,
    /// Delivered more than once.
    doubled: usize,
    /// Delivered and not committed.
    foreign: usize,
    /// Deliveries that do not follow the last one of their key. Unknown where consumers compete.
    disordered: Option<usize>,
}

impl Report {
    fn new(subscription: Subscription, committed: &HashSet<i64>, deliveries: &[Delivery]) -> Self {
        let delivered: HashSet<i64> = deliveries.iter().map(|delivery| delivery.id).collect();
        Self {
            subscription: subscription.name,
            committed: committed.len(),
            delivered: delivered.len(),
            lost: committed.difference(&delivered).count(),
            doubled: deliveries.len() - delivered.len(),
            foreign: delivered.difference(committed).count(),
            disordered: (subscription.kind == Consumers::Single).then(|| disordered(deliveries)),
        }
    }

    pub(crate) fn committed(&self) -> usize {
        self.committed
    }

    pub(crate) fn lost(&self) -> usize {
        self.lost
    }

    pub(crate) fn disordered(&self) -> usize {
        self.disordered.unwrap_or(0)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.foreign == 0 && self.disordered() == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: committed {}, delivered {}, lost {}, doubled {}, foreign {}, disordered ",
            self.subscription, self.committed, self.delivered, self.lost, self.doubled, self.foreign
        )?;
        match self.disordered {
            Some(disordered) => write!(f, "{disordered}"),
            None => f.write_str("-"),
        }
    }
}

/// Counts the deliveries out of order. The counter of each key starts at 1 and rises by 1 with every committed event.
fn disordered(deliveries: &[Delivery]) -> usize {
    let mut last: HashMap<&str, i64> = HashMap::new();
    deliveries
        .iter()
        .filter_map(|delivery| delivery.keyed.as_ref())
        .filter(|(key, n)| last.insert(key, *n).unwrap_or(0) + 1 != *n)
        .count()
}
