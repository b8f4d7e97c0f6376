//! Claiming events: from the log, and from the mailbox.

use super::wait::REPORT_AWAKE;
use super::{JsonText, Parameters, Store, seconds};
use crate::error::Error;
use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::policy::dispatch::waiter::AWAKE_TTL;
use jiff::Timestamp;
use std::time::Duration;
use tokio_postgres::Row;

// If a claim is lost with the server, its events come again. So it does not wait for the disk.
const CLAIM: &str = "
    select c.token, c.id, c.key, c.payload, c.headers, c.version, c.published_at,
           1 as attempt, 0 as panics, 0 as crashes, c.replay
      from set_config('synchronous_commit', 'off', true), pubsub.claim($1, $2, $3, $4, $5) c";

// An attempt is on the disk before its handler starts, so that the attempts of an event that kills the whole machine are
// bounded too.
const CLAIM_MAILBOX: &str = "
    select c.token, c.id, c.key, c.payload, c.headers, c.version, c.published_at,
           c.attempt, c.panics, c.crashes, c.replay
      from pubsub.claim_mailbox($1, $2, $3, start_limit => $4, knows => $5) c";

// Suspects may kill their process, not the server, so the count of their attempt need not wait for the disk.
const CLAIM_SUSPECTS: &str = "
    select c.token, c.id, c.key, c.payload, c.headers, c.version, c.published_at,
           c.attempt, c.panics, c.crashes, c.replay
      from set_config('synchronous_commit', 'off', true), 
           pubsub.claim_mailbox($1, $2, $3, suspect => true, start_limit => $4, knows => $5) c";

pub(super) const NO_PUBLISHER_AT_WORK: &str = "select pubsub.no_publisher_at_work($1)";

const NEXT_DUE: &str = "
    select d.subscription,
           extract(epoch from d.due_in)::float8,
           extract(epoch from d.suspect_due_in)::float8
      from pubsub.next_due($1, $2, $3) d";

/// The time until a subscription's mailbox has something due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Due {
    pub(crate) subscription: i32,
    /// The time until an ordinary delivery is due; zero if one is due now.
    pub(crate) ordinary: Option<Duration>,
    /// The time until a suspect is due.
    pub(crate) suspect: Option<Duration>,
}

/// The size of a claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    batch: i32,
    start_limit: i32,
}

impl Size {
    /// Creates the size of a claim of up to `batch` events. Each of them starts only once fewer than `start_limit` of those
    /// claimed before it are not settled.
    pub(crate) fn new(batch: usize, start_limit: usize) -> Self {
        let [batch, start_limit] = [batch, start_limit].map(|size| i32::try_from(size).unwrap_or(i32::MAX));
        Self { batch, start_limit }
    }
}

impl Store {
    /// Claims the next events of the log.
    pub(crate) async fn claim(
        &self,
        subscription: i32,
        process: i64,
        claim: Size,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let parameters: Parameters<'_> = &[&subscription, &process, &claim.batch, &claim.start_limit, &false];
        events(&self.query("claim events", CLAIM, parameters).await?, process)
    }

    /// Claims, unless another process is awake or claiming. For a sleeper, in case its bell was lost.
    pub(crate) async fn poll(
        &self,
        subscription: i32,
        process: i64,
        claim: Size,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let parameters: Parameters<'_> = &[&subscription, &process, &claim.batch, &claim.start_limit, &true];
        events(&self.query("claim events", CLAIM, parameters).await?, process)
    }

    /// Claims, and reports that this process is awake, so that publishers need not ring for a while.
    pub(crate) async fn claim_awake(
        &self,
        subscription: i32,
        process: i64,
        claim: Size,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let (rows, _) = self
            .query_both(
                "claim events",
                (CLAIM, &[&subscription, &process, &claim.batch, &claim.start_limit, &false]),
                (REPORT_AWAKE, &[&subscription, &process, &seconds(AWAKE_TTL)]),
            )
            .await?;
        events(&rows, process)
    }

    /// Asks whether no publisher is at work, then claims. This is the second half of going to sleep.
    pub(crate) async fn claim_if_quiet(
        &self,
        subscription: i32,
        process: i64,
        claim: Size,
    ) -> Result<(bool, Vec<ClaimedEvent>), Error> {
        let (quiet, rows) = self
            .query_both(
                "claim events",
                (NO_PUBLISHER_AT_WORK, &[&subscription]),
                (CLAIM, &[&subscription, &process, &claim.batch, &claim.start_limit, &false]),
            )
            .await?;
        let quiet = quiet.first().is_some_and(|row| row.get(0));
        Ok((quiet, events(&rows, process)?))
    }

    /// Claims due deliveries of the mailbox up to this version, suspects excluded, and counts their attempt.
    pub(crate) async fn claim_mailbox(
        &self,
        subscription: i32,
        process: i64,
        claim: Size,
        version: i32,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let parameters: Parameters<'_> =
            &[&subscription, &process, &claim.batch, &claim.start_limit, &version];
        let rows = self.query("claim deliveries of the mailbox", CLAIM_MAILBOX, parameters).await?;
        events(&rows, process)
    }

    /// Claims a due suspect of the mailbox up to this version, or a group that may run together, and counts their attempt.
    pub(crate) async fn claim_suspects(
        &self,
        subscription: i32,
        process: i64,
        claim: Size,
        version: i32,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let parameters: Parameters<'_> =
            &[&subscription, &process, &claim.batch, &claim.start_limit, &version];
        let rows = self.query("claim suspects of the mailbox", CLAIM_SUSPECTS, parameters).await?;
        events(&rows, process)
    }

    /// Returns when each subscription's mailbox has something due for this process, which knows these versions. Subscriptions
    /// with an empty mailbox are left out.
    pub(crate) async fn next_due(
        &self,
        subscriptions: &[i32],
        versions: &[i32],
        process: i64,
    ) -> Result<Vec<Due>, Error> {
        let parameters: Parameters<'_> = &[&subscriptions, &process, &versions];
        let rows = self.query("ask when deliveries are due", NEXT_DUE, parameters).await?;
        let wait = |seconds: f64| Duration::from_secs_f64(seconds.clamp(0.0, 1e9));
        let due = |row: &Row| Due {
            subscription: row.get(0),
            ordinary: row.get::<_, Option<f64>>(1).map(wait),
            suspect: row.get::<_, Option<f64>>(2).map(wait),
        };
        Ok(rows.iter().map(due).collect())
    }
}

fn events(rows: &[Row], process: i64) -> Result<Vec<ClaimedEvent>, Error> {
    rows.iter()
        .map(|row| event(row, process))
        .collect::<Result<_, _>>()
        .map_err(|source| Error::Database { doing: "claim events", source })
}

fn event(row: &Row, process: i64) -> Result<ClaimedEvent, tokio_postgres::Error> {
    Ok(ClaimedEvent {
        process,
        token: LeaseToken(row.try_get(0)?),
        id: EventId(row.try_get(1)?),
        key: row.try_get(2)?,
        payload: row.try_get::<_, JsonText>(3)?.0,
        headers: row.try_get::<_, Option<JsonText>>(4)?.map(|json| json.0),
        version: row.try_get(5)?,
        published_at: row.try_get::<_, Timestamp>(6)?,
        attempt: row.try_get::<_, i32>(7)?.unsigned_abs(),
        panics: row.try_get::<_, i32>(8)?.unsigned_abs(),
        crashes: row.try_get::<_, i32>(9)?.unsigned_abs(),
        replay: row.try_get(10)?,
    })
}
