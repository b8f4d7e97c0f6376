//! Who keeps old versions of rows alive.

use super::{Store, seconds};
use crate::error::Error;
use std::time::Duration;
use tokio_postgres::Row;

const PINNED: &str = "
    select h.kind, h.name, h.application, h.client, h.database, h.pid, h.state, extract(epoch from h.age)::float8,
           h.xids_behind
      from pubsub.pins(make_interval(secs => $1), $2) h";

/// Somebody for whose sake no vacuum can remove what is dead.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pin {
    /// A session, a prepared transaction, a replication slot, or a standby.
    pub(crate) kind: String,
    /// The role, or the slot.
    pub(crate) owner: Option<String>,
    /// What it calls itself.
    pub(crate) application: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) pid: Option<i32>,
    pub(crate) state: Option<String>,
    /// Of its transaction; the database does not know it of slots and standbys.
    pub(crate) age: Option<Duration>,
    /// Transaction ids drawn since.
    pub(crate) xids: Option<i64>,
}

impl Store {
    /// Transactions that are older than this, and slots and standbys that are more than `xids` transaction ids behind. The
    /// oldest first.
    pub(crate) async fn pins(&self, older_than: Duration, xids: Option<i64>) -> Result<Vec<Pin>, Error> {
        let rows = self.query("look for old transactions", PINNED, &[&seconds(older_than), &xids]).await?;
        Ok(rows.iter().map(pin).collect())
    }

    /// The next transaction id.
    pub(crate) async fn next_xid(&self) -> Result<i64, Error> {
        self.query_value("read the next transaction id", "select pubsub.next_xid()", &[]).await
    }
}

fn pin(row: &Row) -> Pin {
    Pin {
        kind: row.get(0),
        owner: row.get(1),
        application: row.get(2),
        client: row.get(3),
        database: row.get(4),
        pid: row.get(5),
        state: row.get(6),
        age: row.get::<_, Option<f64>>(7).map(|age| Duration::from_secs_f64(age.clamp(0.0, 1e12))),
        xids: row.get(8),
    }
}
