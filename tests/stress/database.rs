//! The test's own database, and connections to it.

use std::error::Error;
use std::future::poll_fn;

use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The settings of every session. A lost commit does not matter here, so no session waits for the disk. A stuck session
/// fails its test with the name of the statement.
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
        // It ends with its client, whose queries report the same errors.
        tokio::spawn(connection);
        client.batch_execute(SESSION).await?;
        Ok(client)
    }

    /// Opens a connection that listens on `channels`. All notifications arrive in the receiver, in the server's order.
    pub(crate) async fn listen(
        &self,
        channels: &[&str],
    ) -> Result<(Client, UnboundedReceiver<Notification>)> {
        let (client, mut connection) = tokio_postgres::connect(self.0.url(), NoTls).await?;
        let (sender, notifications) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message
                    && sender.send(notification).is_err()
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
