//! A subscriber that uses the SQL functions, without a runtime.

use tokio_postgres::{Client, Error};

/// An event as `pubsub.claim` returns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClaimedEvent {
    /// The lease's token.
    pub token: i64,
    /// The event.
    pub id: i64,
    /// Whether the subscription had read the event before.
    pub replay: bool,
}

/// A process with one subscription to channel `sms`.
#[derive(Debug)]
pub struct SqlSubscriber<'a> {
    /// Its connection.
    pub client: &'a Client,
    /// The subscription's id.
    pub subscription: i32,
    /// The process's id.
    pub process: i64,
}

impl<'a> SqlSubscriber<'a> {
    /// Registers a process for a subscription, which is created if it does not exist.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn register(client: &'a Client, subscription: &str) -> Result<Self, Error> {
        client.batch_execute("select pubsub.declare_channel('sms')").await?;
        let subscription =
            client.query_one("select pubsub.subscribe('sms', $1)", &[&subscription]).await?.get(0);
        let process =
            client.query_one("select pubsub.register_process('host', 1, 'by hand')", &[]).await?.get(0);
        Ok(Self { client, subscription, process })
    }

    /// Claims the next events of the log.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim(&self, batch: i32) -> Result<Vec<ClaimedEvent>, Error> {
        let sql = "select token, id, replay from pubsub.claim($1, $2, $3)";
        self.claimed(sql, batch).await
    }

    /// Claims the due deliveries of the mailbox.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn claim_mailbox(&self, batch: i32) -> Result<Vec<ClaimedEvent>, Error> {
        let sql = "select token, id, replay from pubsub.claim_mailbox($1, $2, $3)";
        self.claimed(sql, batch).await
    }

    async fn claimed(&self, sql: &str, batch: i32) -> Result<Vec<ClaimedEvent>, Error> {
        let rows = self.client.query(sql, &[&self.subscription, &self.process, &batch]).await?;
        let claimed = |row: &tokio_postgres::Row| ClaimedEvent {
            token: row.get(0),
            id: row.get(1),
            replay: row.get(2),
        };
        Ok(rows.iter().map(claimed).collect())
    }

    /// Settles all events of a lease as done. Returns false if the process does not hold the lease.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn settle(&self, token: i64) -> Result<bool, Error> {
        let row = self.client.query_one("select pubsub.settle($1, $2)", &[&self.process, &token]).await?;
        Ok(row.get(0))
    }

    /// Settles one event of a lease as failed, due again at once, and the others as done.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn fail(&self, token: i64, id: i64) -> Result<bool, Error> {
        let failed = format!(r#"[{{"id": {id}, "action": "retry", "error": "no"}}]"#);
        let sql = "select pubsub.settle($1, $2, null, $3::text::jsonb)";
        Ok(self.client.query_one(sql, &[&self.process, &token, &failed]).await?.get(0))
    }

    /// Reads the log to its end in batches, settles everything, and returns the events in order.
    ///
    /// # Errors
    /// Those of the database.
    pub async fn drain(&self, batch: i32) -> Result<Vec<i64>, Error> {
        let mut ids = Vec::new();
        loop {
            let claimed = self.claim(batch).await?;
            let Some(first) = claimed.first() else { return Ok(ids) };
            self.settle(first.token).await?;
            ids.extend(claimed.iter().map(|event| event.id));
        }
    }
}
