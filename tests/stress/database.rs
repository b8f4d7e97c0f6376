//! A database of the test's own, and connections to it.

use std::error::Error;
use std::future::poll_fn;

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// What every session starts with. A lost commit is no concern here, so none of them waits for the disk; and a session
/// that is stuck fails its test with the name of the statement.
const SESSION: &str = "set synchronous_commit = off; set lock_timeout = '20s'; set statement_timeout = '60s'";

/// A fresh, migrated database.
pub(crate) struct Database(pubsub::testing::Database);

impl Database {
    pub(crate) async fn create() -> Result<Self> {
        Ok(Self(pubsub::testing::Database::create().await?))
    }

    pub(crate) fn url(&self) -> &str {
        self.0.url()
    }

    pub(crate) async fn connect(&self) -> Result<Client> {
        let (client, connection) = tokio_postgres::connect(self.0.url(), NoTls).await?;
        // Ends with its client; what it would report, the client's queries report too.
        tokio::spawn(connection);
        client.batch_execute(SESSION).await?;
        Ok(client)
    }

    /// A connection that listens on `channels`: every notification arrives in the receiver, in the server's order.
    pub(crate) async fn listen(
        &self,
        channels: &[&str],
    ) -> Result<(Client, UnboundedReceiver<Notification>)> {
        let (client, mut connection) = tokio_postgres::connect(self.0.url(), NoTls).await?;
        let (heard, notifications) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message
                    && heard.send(notification).is_err()
                {
                    return;
                }
            }
        });
        for channel in channels {
            client.batch_execute(&format!("listen {channel}")).await?;
        }
        Ok((client, notifications))
    }
}
