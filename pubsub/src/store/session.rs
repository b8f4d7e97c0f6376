//! Proves that connections are sessions of their own.
//!
//! A pooler in transaction mode gives each transaction any of its sessions. Settings and locks of a session are then left in the
//! sessions of others, a heartbeat is not that of its process, and notifications reach nobody. That two statements ran in one session
//! proves nothing, because it may be luck. A notification that reaches a client which sends nothing proves it: a pooler that has
//! taken the session back does not know for whom the notification is.

use super::connect::{Connection, Driver, LOCK_TIMEOUT, STATEMENT_TIMEOUT};
use super::listen::messages;
use super::statement::begin;
use super::target::Target;
use super::through::Through;
use crate::error::{Error, from_database, is_of_class};
use futures_util::StreamExt;
use futures_util::future::try_join;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, SimpleQueryMessage};

const DOING: &str = "prove that a connection is a session";

/// The longest wait for the notification, which takes milliseconds. It is below the deadline of a start.
const HEARING: Duration = Duration::from_secs(5);

/// The number of proofs to try when the limits of the role end one, because the connections have no settings yet.
const ATTEMPTS: u32 = 20;

/// The longest search for the session that listens, and the number of sessions to look in.
const SEARCH: Duration = Duration::from_secs(1);
const SEARCHES: usize = 100;

/// A session, seen from the server.
#[derive(Debug, PartialEq, Eq)]
struct Backend {
    pid: String,
    /// Nobody can listen on a standby.
    is_standby: bool,
}

impl Target {
    /// Proves that the connections of this target, or of its direct one, are sessions: once for all clones. The settings of a session
    /// must not be sent before.
    pub(super) async fn prove_session(&self) -> Result<(), Error> {
        if self.proved.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut attempts = 1;
        let proved = loop {
            match self.prove().await {
                Err(error) if attempts < ATTEMPTS && is_of_limits(&error) => attempts += 1,
                done => break done?,
            }
        };
        self.proved.store(proved, Ordering::Relaxed);
        Ok(())
    }

    /// Returns whether there is a proof. False on a standby, and while the queue of notifications is full.
    async fn prove(&self) -> Result<bool, Error> {
        let topic = format!("pubsub_proof_{:016x}", fastrand::u64(..));
        let (ear, heard) = oneshot::channel();
        let ((listening, listener), (notifying, notifier)) =
            try_join(self.of_sessions().connect_plain(), self.connect_plain()).await?;
        let _listener = Driver::spawn(hear(listener, topic.clone(), ear));
        let _notifier = Driver::start(notifier);

        let failed = |source| from_database(DOING, source);
        let session = place(&listening, "").await.map_err(failed)?;
        // While its transaction is open, no other client has this session.
        let begin = format!("{};", begin(STATEMENT_TIMEOUT, LOCK_TIMEOUT));
        let other = place(&notifying, &begin).await.map_err(|error| self.refusal_of_transactions(error))?;
        let again = place(&listening, "").await.map_err(failed)?;
        notifying.batch_execute("rollback").await.map_err(failed)?;
        if session == other || session != again {
            return Err(self.pooler("is a pooler in transaction mode"));
        }
        if session.is_standby || other.is_standby {
            return Ok(false);
        }
        let listens = place(&listening, &format!("listen {topic};")).await.map_err(failed)?;
        match notifying.batch_execute(&format!("notify {topic}")).await {
            // The queue of notifications is full.
            Err(error) if error.code() == Some(&SqlState::PROGRAM_LIMIT_EXCEEDED) => return Ok(false),
            done => done.map_err(failed)?,
        }
        // A connection whose client lives ends with an error, so the other end of the channel does not go away without a word.
        if let Ok(Ok(heard)) = tokio::time::timeout(HEARING, heard).await {
            return heard.map(|()| true).map_err(failed);
        }
        // If this fails, a session of the pooler keeps listening, and some client gets a notification that it ignores.
        let _ = tokio::time::timeout(SEARCH, unlisten(&[listening, notifying], &topic, &listens)).await;
        Err(self.deaf())
    }

    /// Says that the connections are no sessions, and what to write.
    fn pooler(&self, what: &str) -> Error {
        let name = self.of_sessions().addresses.servers().join(",");
        let message = match self.through() {
            Through::Session => format!(
                "`{name}` {what}, and the heartbeat, the listener and migrations need sessions of their own: connect to the server \
                 itself, or name it as well, with `.direct(\"postgres://..\")`"
            ),
            Through::Pooler => format!(
                "`{name}`, the target of `.direct`, {what}: name the server itself there, past every pooler"
            ),
        };
        Error::Pooler { message }
    }

    /// Says that a notification was not heard.
    fn deaf(&self) -> Error {
        let from = self.addresses.servers().join(",");
        match self.through() {
            Through::Session => {
                self.pooler("passes no notification on to a client that waits, like a pooler in transaction mode")
            }
            Through::Pooler => self.pooler(&format!(
                "hears no notification from `{from}`, so it is another database or a pooler in transaction mode"
            )),
        }
    }

    /// Says that transactions are refused, if that is the error.
    fn refusal_of_transactions(&self, error: tokio_postgres::Error) -> Error {
        if !error.as_db_error().is_some_and(|error| error.message().contains("statement pooling mode")) {
            return from_database(DOING, error);
        }
        let name = self.addresses.servers().join(",");
        let message = format!(
            "`{name}` is a pooler in statement mode, which allows no transactions: set `pool_mode = transaction` for this database, \
             and name the server itself with `.direct(\"postgres://..\")`"
        );
        Error::Pooler { message }
    }
}

/// Whether a limit of the role ended the statement or the session.
fn is_of_limits(error: &Error) -> bool {
    matches!(error, Error::Database { .. }) && is_of_class(error.code(), &["57", "25P"])
}

/// Asks in which session a client is now, after `first`.
async fn place(client: &Client, first: &str) -> Result<Backend, tokio_postgres::Error> {
    let answer =
        client.simple_query(&format!("{first} select pg_backend_pid(), pg_is_in_recovery()")).await?;
    let row = answer.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.expect("a query without conditions returns a row");
    let [pid, in_recovery] = [0, 1].map(|column| row.get(column).unwrap_or_default().to_owned());
    Ok(Backend { pid, is_standby: in_recovery == "t" })
}

/// Undoes a LISTEN, in whichever of the pooler's sessions it was, as far as that one comes along.
async fn unlisten(clients: &[Client], topic: &str, session: &Backend) -> Result<(), tokio_postgres::Error> {
    for client in clients.iter().cycle().take(SEARCHES) {
        if place(client, &format!("unlisten {topic};")).await? == *session {
            break;
        }
    }
    Ok(())
}

/// Polls a connection until it has a notification on the topic or fails, and says which.
async fn hear(
    connection: Connection,
    topic: String,
    ear: oneshot::Sender<Result<(), tokio_postgres::Error>>,
) {
    let mut messages = messages(connection);
    let heard = loop {
        match messages.next().await {
            Some(Ok(AsyncMessage::Notification(notification))) if notification.channel() == topic => {
                break Ok(());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => break Err(error),
            None => return,
        }
    };
    // Nobody waits for it if a statement has failed before.
    let _ = ear.send(heard);
}
