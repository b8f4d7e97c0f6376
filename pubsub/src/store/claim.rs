//! Claiming events: from the log, and from the mailbox.

use super::statement::TypedValue;
use super::time::ExactTime;
use super::wait::REPORT_AWAKE;
use super::{JsonText, Parameters, Store, seconds};
use crate::error::{Error, error_chain, from_database};
use crate::model::event::{ClaimedEvent, EventId, LeaseToken};
use crate::policy::dispatch::waiter::AWAKE_TTL;
use jiff::Timestamp;
use std::time::Duration;
use tokio_postgres::Row;

// If a claim is lost with the server, its events come again. So it does not wait for the disk. Its events are at their first
// attempt, so it has no columns for attempts, panics and crashes.
const CLAIM: &str = "
    select c.token, c.id, c.key, c.payload, c.headers, c.version, c.published_at, c.replay
      from set_config('synchronous_commit', 'off', true), pubsub.claim($1, $2, $3, $4, $5, $6, $7) c";

// An attempt is on the disk before its handler starts, so that the attempts of an event that kills the whole machine are
// bounded too.
const CLAIM_MAILBOX: &str = "
    select c.token, c.id, c.key, c.payload, c.headers, c.version, c.published_at, c.replay,
           c.attempt, c.panics, c.crashes
      from pubsub.claim_mailbox($1, $2, $3, start_limit => $4, knows => $5, bytes => $6, known => $7) c";

// Suspects may kill their process, not the server, so the count of their attempt need not wait for the disk.
const CLAIM_SUSPECTS: &str = "
    select c.token, c.id, c.key, c.payload, c.headers, c.version, c.published_at, c.replay,
           c.attempt, c.panics, c.crashes
      from set_config('synchronous_commit', 'off', true),
           pubsub.claim_mailbox($1, $2, $3, suspect => true, start_limit => $4, knows => $5, bytes => $6, known => $7) c";

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

/// The bounds of a claim, and the leases that the process knows if it may have others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'a> {
    batch: i32,
    start_limit: i32,
    bytes: i64,
    known: Option<&'a [i64]>,
}

impl<'a> Claim<'a> {
    /// Creates a claim of up to `batch` events, and no more of them once they have so many bytes. Each of them starts
    /// only once fewer than `start_limit` of those claimed before it are not settled.
    ///
    /// It leaves lanes alone in which the process has other leases than those of `known`, if that is given.
    pub(crate) fn new(batch: usize, start_limit: usize, bytes: usize, known: Option<&'a [i64]>) -> Self {
        let [batch, start_limit] = [batch, start_limit].map(|size| i32::try_from(size).unwrap_or(i32::MAX));
        Self { batch, start_limit, bytes: i64::try_from(bytes).unwrap_or(i64::MAX), known }
    }

    /// Returns the parameters of the statements that claim. `from` is the one in which they differ: whether the process sleeps and
    /// polls the log, or the newest version that it knows of the mailbox.
    fn parameters<'p>(
        &'p self,
        subscription: &'p i32,
        process: &'p i64,
        from: &'p dyn TypedValue,
    ) -> [&'p dyn TypedValue; 7] {
        [subscription, process, &self.batch, &self.start_limit, from, &self.bytes, &self.known]
    }
}

impl Store {
    /// Claims the next events of the log.
    pub(crate) async fn claim(
        &self,
        subscription: i32,
        process: i64,
        claim: Claim<'_>,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let parameters = &claim.parameters(&subscription, &process, &false);
        events(&self.query("claim events", CLAIM, parameters).await?, process)
    }

    /// Claims, unless another process is awake or claiming. For a sleeper whose bell was lost.
    pub(crate) async fn claim_asleep(
        &self,
        subscription: i32,
        process: i64,
        claim: Claim<'_>,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let parameters = &claim.parameters(&subscription, &process, &true);
        events(&self.query("claim events", CLAIM, parameters).await?, process)
    }

    /// Claims, and reports that this process is awake, so that publishers need not ring for a while.
    pub(crate) async fn claim_awake(
        &self,
        subscription: i32,
        process: i64,
        claim: Claim<'_>,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let (rows, reported) = self
            .query_both(
                "claim events",
                (CLAIM, &claim.parameters(&subscription, &process, &false)),
                (REPORT_AWAKE, &[&subscription, &process, &seconds(AWAKE_TTL)]),
            )
            .await?;
        if let Err(error) = reported {
            // The claim counts all the same. Until the next report, publishers ring.
            tracing::debug!(error = error_chain(&error), "publishers do not know that this process is awake");
        }
        events(&rows?, process)
    }

    /// Asks whether no publisher is at work, then claims. This is the second half of going to sleep.
    pub(crate) async fn claim_if_quiet(
        &self,
        subscription: i32,
        process: i64,
        claim: Claim<'_>,
    ) -> Result<(bool, Vec<ClaimedEvent>), Error> {
        let (quiet, rows) = self
            .query_both(
                "claim events",
                (NO_PUBLISHER_AT_WORK, &[&subscription]),
                (CLAIM, &claim.parameters(&subscription, &process, &false)),
            )
            .await?;
        // Without an answer it may not be quiet. The claim counts all the same.
        let quiet = quiet.is_ok_and(|rows| rows.first().is_some_and(|row| row.get(0)));
        Ok((quiet, events(&rows?, process)?))
    }

    /// Claims due deliveries of the mailbox up to this version, suspects excluded, and counts their attempt.
    pub(crate) async fn claim_mailbox(
        &self,
        subscription: i32,
        process: i64,
        claim: Claim<'_>,
        version: i32,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let parameters = &claim.parameters(&subscription, &process, &version);
        let rows = self.query("claim deliveries of the mailbox", CLAIM_MAILBOX, parameters).await?;
        events(&rows, process)
    }

    /// Claims a due suspect of the mailbox up to this version, or a group that may run together, and counts their attempt.
    pub(crate) async fn claim_suspects(
        &self,
        subscription: i32,
        process: i64,
        claim: Claim<'_>,
        version: i32,
    ) -> Result<Vec<ClaimedEvent>, Error> {
        let parameters = &claim.parameters(&subscription, &process, &version);
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
    // With room for all of them: collecting results, a vector does not know how many will come.
    let mut events = Vec::with_capacity(rows.len());
    for row in rows {
        events.push(event(row, process).map_err(|source| from_database("claim events", source))?);
    }
    Ok(events)
}

/// Reads the event of a row. One whose contents cannot be read is marked as unreadable, so that the others go on.
fn event(row: &Row, process: i64) -> Result<ClaimedEvent, tokio_postgres::Error> {
    let [attempt, panics, crashes] = if row.len() > ATTEMPT { starts(row)? } else { [1, 0, 0] };
    let mut event = ClaimedEvent {
        process,
        token: LeaseToken(row.try_get(0)?),
        id: EventId(row.try_get(1)?),
        attempt,
        panics,
        crashes,
        replay: row.try_get(7)?,
        version: row.try_get(5)?,
        key: None,
        payload: Vec::new(),
        headers: None,
        published_at: Timestamp::UNIX_EPOCH,
        unreadable: None,
    };
    if let Err(error) = read_contents(&mut event, row) {
        event.unreadable = Some(format!("its row cannot be read: {}", error_chain(&error)));
    }
    Ok(event)
}

/// The first column that only claims of the mailbox have.
const ATTEMPT: usize = 8;

/// Returns the starts of an event of the mailbox: the next attempt, and earlier starts that ended with a panic or a crash.
fn starts(row: &Row) -> Result<[u32; 3], tokio_postgres::Error> {
    let count = |column: usize| row.try_get::<_, i32>(column).map(i32::unsigned_abs);
    Ok([count(ATTEMPT)?, count(ATTEMPT + 1)?, count(ATTEMPT + 2)?])
}

fn read_contents(event: &mut ClaimedEvent, row: &Row) -> Result<(), tokio_postgres::Error> {
    event.key = row.try_get(2)?;
    event.published_at = row.try_get::<_, ExactTime>(6)?.0;
    event.payload = row.try_get::<_, JsonText>(3)?.0;
    event.headers = row.try_get::<_, Option<JsonText>>(4)?.map(|json| json.0);
    Ok(())
}
