//! Moving a subscription in the log.

use super::{Parameters, Store, run};
use crate::error::{Error, from_database};
use crate::model::seek::{Seek, SeekReport};
use std::time::Duration;
use tokio_postgres::Row;

const TO_EVENT: &str = "select s.replayed, s.skipped from pubsub.seek_to_event($1, $2, $4, dry_run => $3) s";

const TO_TIME: &str = "select s.replayed, s.skipped from pubsub.seek_to_time($1, $2, $4, dry_run => $3) s";

const TO_BEGINNING: &str =
    "select s.replayed, s.skipped from pubsub.seek_to_beginning($1, $2, dry_run => $3) s";

const TO_NOW: &str = "select s.replayed, s.skipped from pubsub.seek_to_now($1, $2, dry_run => $3) s";

/// Counting takes as long as the log is long: more than any other statement may.
const DEADLINE: Duration = Duration::from_secs(300);
const PATIENCE: &str = "set statement_timeout = '300s'";

impl Store {
    /// Moves a subscription, or only counts what that would mean.
    pub(crate) async fn seek(
        &self,
        channel: &str,
        subscription: &str,
        to: Seek,
        dry_run: bool,
    ) -> Result<SeekReport, Error> {
        match to {
            Seek::Beginning => self.search(TO_BEGINNING, &[&channel, &subscription, &dry_run]).await,
            Seek::Now => self.search(TO_NOW, &[&channel, &subscription, &dry_run]).await,
            Seek::Event(id) => self.search(TO_EVENT, &[&channel, &subscription, &dry_run, &id.0]).await,
            Seek::Time(time) => self.search(TO_TIME, &[&channel, &subscription, &dry_run, &time]).await,
        }
    }

    async fn search(&self, sql: &str, parameters: Parameters<'_>) -> Result<SeekReport, Error> {
        const DOING: &str = "seek";
        let failed = |source| from_database(DOING, source);
        let searching = async {
            // Never given back: no other statement shall have this patience.
            let session = self.session(DOING).await?;
            session.batch_execute(PATIENCE).await.map_err(failed)?;
            let rows = run(&session, sql, parameters).await.map_err(failed)?;
            seek_report(&rows[0]).map_err(|source| Error::Database { doing: DOING, source })
        };
        tokio::time::timeout(DEADLINE, searching)
            .await
            .unwrap_or(Err(Error::Timeout { doing: DOING, after: DEADLINE }))
    }
}

fn seek_report(row: &Row) -> Result<SeekReport, tokio_postgres::Error> {
    Ok(SeekReport {
        replayed: row.try_get::<_, i64>(0)?.unsigned_abs(),
        skipped: row.try_get::<_, i64>(1)?.unsigned_abs(),
    })
}
