//! The transactions, slots and standbys that keep old row versions alive.

use super::{Store, seconds};
use crate::error::Error;
use std::time::Duration;
use tokio_postgres::Row;

const XMIN_HOLDERS: &str = "
    select h.kind, h.name, h.application, h.client, h.database, h.pid, h.state, extract(epoch from h.age)::float8,
           h.xids_behind
      from pubsub.xmin_holders(make_interval(secs => $1), $2) h";

/// A holder of the xmin horizon. While it lasts, no vacuum removes the rows that died after it began.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct XminHolder {
    /// `session`, `prepared transaction`, `replication slot`, or `standby`.
    pub(crate) kind: String,
    /// The role, or the slot's name.
    pub(crate) owner: Option<String>,
    /// The session's application name, the transaction's gid, or the slot's type.
    pub(crate) application: Option<String>,
    pub(crate) client: Option<String>,
    pub(crate) database: Option<String>,
    pub(crate) pid: Option<i32>,
    pub(crate) state: Option<String>,
    /// The transaction's age; `None` for slots and standbys.
    pub(crate) age: Option<Duration>,
    /// Transaction ids drawn since it began.
    pub(crate) xids: Option<i64>,
}

impl Store {
    /// Returns the transactions older than `older_than`, and the slots and standbys more than `xids` transaction ids behind,
    /// oldest first.
    pub(crate) async fn xmin_holders(
        &self,
        older_than: Duration,
        xids: Option<i64>,
    ) -> Result<Vec<XminHolder>, Error> {
        let rows =
            self.query("look for old transactions", XMIN_HOLDERS, &[&seconds(older_than), &xids]).await?;
        Ok(rows.iter().map(xmin_holder).collect())
    }

    /// Returns the next transaction id, as a number that never wraps.
    pub(crate) async fn next_xid(&self) -> Result<i64, Error> {
        let sql = "select pg_snapshot_xmax(pg_current_snapshot())::text::bigint";
        self.query_value("read the next transaction id", sql, &[]).await
    }
}

fn xmin_holder(row: &Row) -> XminHolder {
    XminHolder {
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
