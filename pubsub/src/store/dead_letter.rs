//! Dead letters: listing them, and putting them back into the mailbox.

use super::{Parameters, Store, Time};
use crate::error::{Error, from_database};
use crate::model::channel::Channel;
use crate::model::dead_letter::{DeadLetter, Reason};
use crate::model::event::EventId;
use std::time::SystemTime;
use tokio_postgres::Row;

const DEAD_LETTERS: &str = "
    select d.event_id, d.payload::text, d.reason, d.attempt, d.error, d.published_at, d.died_at
      from pubsub.list_dead_letters($1, $2, $3, $4) d";

const REDRIVE: &str = "select pubsub.redrive($1, $2, $3, $4, $5)";

/// The most dead letters that one transaction moves.
const REDRIVE_BATCH: i32 = 1_000;

impl Store {
    /// Lists up to `limit` dead letters of a subscription with event ids above `after`, in the order of their ids.
    pub(crate) async fn dead_letters<C: Channel>(
        &self,
        subscription: &str,
        after: i64,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Error> {
        const DOING: &str = "list dead letters";
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let rows = self.query(DOING, DEAD_LETTERS, &[&C::NAME, &subscription, &after, &limit]).await?;
        let letters: Result<_, _> = rows.iter().map(dead_letter::<C>).collect();
        letters.map_err(|source| from_database(DOING, source))
    }

    /// Puts dead letters back into the mailbox: all that the subscription has now, or one. Returns how many.
    pub(crate) async fn redrive(
        &self,
        channel: &str,
        subscription: &str,
        event: Option<i64>,
    ) -> Result<u64, Error> {
        const DOING: &str = "redrive dead letters";
        // Those that die again meanwhile are left.
        let begun: SystemTime = self.query_value(DOING, "select clock_timestamp()", &[]).await?;
        let mut total = 0;
        loop {
            let parameters: Parameters<'_> = &[&channel, &subscription, &event, &REDRIVE_BATCH, &begun];
            let moved: i64 = self.query_value(DOING, REDRIVE, parameters).await?;
            total += moved.unsigned_abs();
            if moved < i64::from(REDRIVE_BATCH) {
                return Ok(total);
            }
        }
    }
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
