//! The demo's view of the database and the runtime, and its waits for them.

use crate::database::Database;
use crate::failed::Failed;
use crate::outside::FULL;
use pubsub::status::HandlerStatus;
use pubsub::{EventId, PubSub};
use std::time::{Duration, Instant};
use tokio_postgres::Client;
use tokio_postgres::types::Type;

/// The longest wait for an effect.
const DEADLINE: Duration = Duration::from_secs(30);

/// The pause between two checks.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) struct Observer {
    pubsub: PubSub,
    database: Client,
}

impl Observer {
    pub(crate) async fn new(pubsub: PubSub, database: &Database) -> Result<Self, Failed> {
        Ok(Self { pubsub, database: database.connect().await? })
    }

    /// Returns two addresses that no user has yet. The database may have seen this story before.
    pub(crate) async fn addresses(&self) -> Result<(String, String), Failed> {
        let users: i64 =
            self.database.query_typed_one("select count(*) from quickstart.users", &[]).await?.get(0);
        let tag = if users == 0 { String::new() } else { format!("+{users}") };
        Ok((format!("ada{tag}@example.com"), format!("grace{tag}@{FULL}")))
    }

    /// Counts the events in the log.
    pub(crate) async fn events(&self) -> Result<i64, Failed> {
        Ok(self.database.query_typed_one("select count(*) from pubsub.db_events", &[]).await?.get(0))
    }

    /// Returns the id of the user with this address.
    pub(crate) async fn user(&self, email: &str) -> Result<i32, Failed> {
        Ok(self
            .database
            .query_typed_one("select id from quickstart.users where email = $1", &[(&email, Type::TEXT)])
            .await?
            .get(0))
    }

    /// Waits until a subscription has handled `more` deliveries than `before`.
    pub(crate) async fn handled(
        &self,
        before: &[HandlerStatus],
        subscription: &str,
        more: u64,
    ) -> Result<(), Failed> {
        let of = |all: &[HandlerStatus]| {
            all.iter()
                .filter(|status| status.subscription == subscription)
                .map(|status| status.handled)
                .sum::<u64>()
        };
        let until = Instant::now() + DEADLINE;
        while of(&self.pubsub.handlers()) < of(before) + more {
            if Instant::now() > until {
                return Err(
                    format!("`{subscription}` did not handle its delivery within {DEADLINE:?}").into()
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Waits until the e-mail to `receiver` is a dead letter, and shows it.
    pub(crate) async fn dead_letter(&self, receiver: &str) -> Result<EventId, Failed> {
        let find =
            "select event_id, attempt, reason from pubsub.dead_letters where payload ->> 'receiver' = $1";
        let until = Instant::now() + DEADLINE;
        loop {
            if let Some(letter) = self.database.query_typed_opt(find, &[(&receiver, Type::TEXT)]).await? {
                let (event, attempt, reason): (i64, i32, String) =
                    (letter.get(0), letter.get(1), letter.get(2));
                let (channel, subscription) = ("email", "mailer");
                tracing::info!(
                    channel,
                    subscription,
                    event,
                    attempt,
                    "found in pubsub.dead_letters: {reason}"
                );
                return Ok(EventId(event));
            }
            if Instant::now() > until {
                return Err(format!(
                    "the e-mail to {receiver} did not become a dead letter within {DEADLINE:?}"
                )
                .into());
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
