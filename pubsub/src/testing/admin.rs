//! Statements that create and drop databases, on a connection of their own.

use super::Error;
use crate::store::Target;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::Client;

/// The longest time for a statement. Creating a database may wait 5 s for the users of its template.
const LIMIT: Duration = Duration::from_secs(60);

/// A connection for maintenance.
#[derive(Debug)]
pub(super) struct Admin {
    client: Client,
    connection: JoinHandle<()>,
}

impl Admin {
    pub(super) async fn connect(server: &Target) -> Result<Self, Error> {
        let (client, connection) = server.connect_to_server(LIMIT).await.map_err(Error::Connect)?;
        let connection = tokio::spawn(async {
            // The caller that waits for an answer gets the error too.
            let _ = connection.await;
        });
        Ok(Self { client, connection })
    }

    /// Runs SQL without parameters; `action` completes the sentence "could not …".
    pub(super) async fn run(&self, action: &str, sql: &str) -> Result<(), Error> {
        in_time(action, self.client.batch_execute(sql)).await
    }

    /// Returns the rows of a query with one text column.
    pub(super) async fn texts(&self, action: &str, sql: &str) -> Result<Vec<String>, Error> {
        let rows = in_time(action, self.client.query(sql, &[])).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Closes the connection and waits for its end, instead of leaving that to the runtime.
    pub(super) async fn close(self) {
        let Self { client, connection } = self;
        drop(client);
        // The task ends because its client is gone. If it panicked, nothing is left to close.
        let _ = connection.await;
    }
}

async fn in_time<T>(
    action: &str,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(LIMIT, work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(source)) => Err(Error::Database { action: action.to_owned(), source }),
        Err(_) => Err(Error::NoAnswer { action: action.to_owned(), waited: LIMIT }),
    }
}
