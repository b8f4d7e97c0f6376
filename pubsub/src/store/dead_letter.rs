//! Dead letters: listing them, putting them back into the mailbox, and deleting them.

use super::time::Time;
use super::{Parameters, Store};
use crate::error::{Error, from_database};
use crate::model::channel::Channel;
use crate::model::dead_letter::{DeadLetter, DeadLetterFilter, Reason};
use crate::model::event::EventId;
use std::time::Duration;
use tokio_postgres::Row;

const DEAD_LETTERS: &str = "
    select d.event_id, d.payload::text, d.reason, d.attempt, d.error, d.published_at, d.died_at
      from pubsub.list_dead_letters($1, $2, $3, $4, $5, $6) d";

const REDRIVE: &str = "select pubsub.redrive($1, $2, $3, $4, $5, $6)";

/// A page of dead letters: its last event, and those of its events that have died at $7 or later.
const AHEAD: &str = "
    select max(l.event_id), array_agg(l.event_id) filter (where l.died_at >= $7::timestamptz)
      from pubsub.list_dead_letters($1, $2, $3, $4, $5, $6) l";

const REDRIVE_EACH: &str =
    "select coalesce(sum(pubsub.redrive($1, $2, e)), 0)::bigint from unnest($3::bigint[]) e";

const PURGE: &str = "select pubsub.purge_dead_letters($1, $2, $3, $4, $5, $6)";

const TRIM: &str = "
    select pubsub.purge_dead_letters(
               $1, $2, batch => $3, died_before => clock_timestamp() - make_interval(secs => $4)
           )";

/// The most dead letters that one transaction moves or deletes.
const BATCH: i32 = 1_000;

impl Store {
    /// Lists up to `limit` dead letters of a subscription with event ids above `after`, in the order of their ids.
    pub(crate) async fn dead_letters<C: Channel>(
        &self,
        subscription: &str,
        filter: &DeadLetterFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        const DOING: &str = "list dead letters";
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let (died_before, reason) = conditions(filter);
        let parameters: Parameters<'_> = &[&C::NAME, &subscription, &after, &limit, &died_before, &reason];
        let rows = self.query(DOING, DEAD_LETTERS, parameters).await?;
        let letters: Result<_, _> = rows.iter().map(dead_letter::<C>).collect();
        letters.map_err(|source| from_database(DOING, source))
    }

    /// Puts dead letters back into the mailbox: those that the subscription has now and that the filter selects, or one. Returns
    /// how many.
    pub(crate) async fn redrive(
        &self,
        channel: &str,
        subscription: &str,
        filter: &DeadLetterFilter,
        event: Option<i64>,
    ) -> Result<u64, Error> {
        const DOING: &str = "redrive dead letters";
        let (died_before, reason) = conditions(filter);
        if event.is_some() {
            let parameters: Parameters<'_> =
                &[&channel, &subscription, &event, &BATCH, &died_before, &reason];
            return self.in_batches(DOING, REDRIVE, parameters).await;
        }
        let begun: Time = self.query_value(DOING, "select clock_timestamp()", &[]).await?;
        // A clock that was set back has not reached their times yet.
        let ahead = self.ahead(channel, subscription, filter, begun).await?;
        // Those that die again meanwhile are left.
        let before = died_before.map_or(begun, |before| before.min(begun));
        let parameters: Parameters<'_> = &[&channel, &subscription, &event, &BATCH, &before, &reason];
        let mut total = self.in_batches(DOING, REDRIVE, parameters).await?;
        for events in ahead.chunks(BATCH.unsigned_abs() as usize) {
            let redriven: i64 =
                self.query_value(DOING, REDRIVE_EACH, &[&channel, &subscription, &events]).await?;
            total += redriven.unsigned_abs();
        }
        Ok(total)
    }

    /// Returns the events of the dead letters that the filter selects and that have died at `time` or later.
    async fn ahead(
        &self,
        channel: &str,
        subscription: &str,
        filter: &DeadLetterFilter,
        time: Time,
    ) -> Result<Vec<i64>, Error> {
        const DOING: &str = "look for dead letters of a clock that was ahead";
        let (died_before, reason) = conditions(filter);
        let (mut ahead, mut after) = (Vec::new(), i64::MIN);
        loop {
            let parameters: Parameters<'_> =
                &[&channel, &subscription, &after, &BATCH, &died_before, &reason, &time];
            let rows = self.query(DOING, AHEAD, parameters).await?;
            let page = rows.first().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose();
            let page: Option<(Option<i64>, Option<Vec<i64>>)> =
                page.map_err(|source| from_database(DOING, source))?;
            let Some((Some(last), found)) = page else { return Ok(ahead) };
            ahead.extend(found.unwrap_or_default());
            after = last;
        }
    }

    /// Deletes dead letters: those that the filter selects, or one. Returns how many.
    pub(crate) async fn purge_dead_letters(
        &self,
        channel: &str,
        subscription: &str,
        filter: &DeadLetterFilter,
        event: Option<i64>,
    ) -> Result<u64, Error> {
        let (died_before, reason) = conditions(filter);
        let parameters: Parameters<'_> = &[&channel, &subscription, &event, &BATCH, &died_before, &reason];
        self.in_batches("purge dead letters", PURGE, parameters).await
    }

    /// Repeats a statement until it has changed fewer rows than a batch. Returns how many it has changed.
    async fn in_batches(
        &self,
        doing: &'static str,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<u64, Error> {
        let mut total = 0;
        loop {
            let changed: i64 = self.query_value(doing, sql, parameters).await?;
            total += changed.unsigned_abs();
            if changed < i64::from(BATCH) {
                return Ok(total);
            }
        }
    }

    /// Deletes up to a batch of the dead letters that are older than `retention`. Returns how many.
    pub(crate) async fn trim_dead_letters(
        &self,
        channel: &str,
        subscription: &str,
        retention: Duration,
    ) -> Result<i64, Error> {
        let seconds = retention.as_secs_f64();
        self.query_value("trim dead letters", TRIM, &[&channel, &subscription, &BATCH, &seconds]).await
    }
}

/// The filter's parameters of the functions.
fn conditions(filter: &DeadLetterFilter) -> (Option<Time>, Option<&'static str>) {
    (filter.died_before.map(Time), filter.reason.map(Reason::as_str))
}

fn dead_letter<C: Channel>(row: &Row) -> Result<DeadLetter, tokio_postgres::Error> {
    Ok(DeadLetter {
        event_id: EventId(row.try_get(0)?),
        payload: row.try_get(1)?,
        reason: Reason::from_word(row.try_get(2)?),
        attempts: row.try_get::<_, i32>(3)?.unsigned_abs(),
        error: row.try_get(4)?,
        published_at: row.try_get::<_, Time>(5)?.0,
        died_at: row.try_get::<_, Time>(6)?.0,
        redacted: !C::REDACTED.is_empty(),
    })
}
