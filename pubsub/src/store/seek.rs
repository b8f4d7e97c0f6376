//! Moving a subscription in the log.

use super::statement::run;
use super::through::Through;
use super::time::Time;
use super::{Parameters, Store};
use crate::error::{Error, from_database};
use crate::model::seek::{Seek, SeekReport};
use std::time::Duration;
use tokio_postgres::Row;

const SEEK: &str = "
    select s.replayed, s.skipped
      from pubsub.seek($1, $2, target => $3, event => $4, since => $5, dry_run => $6) s";

/// A seek counts the events that it passes, which takes longer than any other statement may.
const DEADLINE: Duration = Duration::from_secs(300);
const STATEMENT_TIMEOUT: &str = "set statement_timeout = '300s'";

impl Store {
    /// Moves a subscription, or only counts the events that a move would replay and skip.
    pub(crate) async fn seek(
        &self,
        channel: &str,
        subscription: &str,
        to: Seek,
        dry_run: bool,
    ) -> Result<SeekReport, Error> {
        const DOING: &str = "seek";
        let failed = |source| from_database(DOING, source);
        let (target, event, since) = match to {
            Seek::Beginning => (Some("beginning"), None, None),
            Seek::Now => (Some("now"), None, None),
            Seek::Event(id) => (None, Some(id.0), None),
            Seek::Time(time) => (None, None, Some(Time(time))),
        };
        let seeking = async {
            // The connection does not go back to the pool, because no other statement may take this long.
            let session = self.session(DOING).await?;
            if self.through == Through::Session {
                session.batch_execute(STATEMENT_TIMEOUT).await.map_err(failed)?;
            }
            let parameters: Parameters<'_> = &[&channel, &subscription, &target, &event, &since, &dry_run];
            let rows = run(&session, self.through, SEEK, parameters, DEADLINE).await.map_err(failed)?;
            seek_report(&rows[0]).map_err(failed)
        };
        tokio::time::timeout(DEADLINE, seeking)
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
