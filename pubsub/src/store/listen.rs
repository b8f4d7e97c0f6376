//! The one connection per process that listens for the bell.
//!
//! It never opens a transaction. A listener inside a transaction keeps the server's notification queue from being emptied,
//! and a full queue makes every NOTIFY fail.

use super::Store;
use super::connect::Connection;
use super::target::Target;
use crate::error::{Error, from_database};
use futures_util::{Stream, StreamExt, stream};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio_postgres::{AsyncMessage, Client};

/// The payload with which a listener tests its connection. No channel has this name.
const PROBE: &str = "?";

/// A notification on a topic of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notification {
    /// Events may be waiting on this channel.
    Bell { channel: String },
    /// Deliveries may be waiting in the mailbox.
    Mailbox,
    /// A listener, of this process or of another, tests its connection.
    Probe,
}

/// The client of a listening connection.
#[derive(Debug)]
pub(crate) struct ListenClient {
    client: Client,
}

/// The notifications of a listening connection. Ends with an error when the connection does.
pub(crate) type Notifications = Pin<Box<dyn Stream<Item = Result<Notification, Error>>>>;

impl Target {
    /// Opens a connection that listens to the topic of all processes and to that of one process. The connection works only
    /// while the stream is polled.
    pub(crate) async fn listen(
        &self,
        process: i64,
        deadline: Duration,
    ) -> Result<(ListenClient, Notifications), Error> {
        let listen = format!("listen pubsub; listen pubsub_{process}");
        let opening = async {
            let (client, connection) = self.connect_session().await?;
            let mut messages = messages(connection);
            {
                let listening = client.batch_execute(&listen);
                tokio::pin!(listening);
                loop {
                    tokio::select! {
                        done = &mut listening => break done.map_err(broken)?,
                        // No notification can arrive yet, but the connection works only while it is polled.
                        message = messages.next() => if let Some(Err(source)) = message {
                            return Err(broken(source));
                        },
                    }
                }
            }
            let notifications = messages.filter_map(async |message| match message {
                Ok(AsyncMessage::Notification(notification)) => {
                    Some(Ok(Notification::parse(notification.payload())))
                }
                Ok(_) => None,
                Err(source) => Some(Err(broken(source))),
            });
            Ok((ListenClient { client }, Box::pin(notifications) as Notifications))
        };
        tokio::time::timeout(deadline, opening)
            .await
            .unwrap_or(Err(Error::Timeout { doing: LISTENING, after: deadline }))
    }
}

impl ListenClient {
    /// Notifies all listeners. If the connection works, a [`Notification::Probe`] follows.
    pub(crate) async fn probe(self: Rc<Self>, deadline: Duration) -> Result<(), Error> {
        const DOING: &str = "probe the listener";
        let notify = format!("notify pubsub, '{PROBE}'");
        let answered = tokio::time::timeout(deadline, self.client.batch_execute(&notify)).await;
        answered
            .map_err(|_| Error::Timeout { doing: DOING, after: deadline })?
            .map_err(|source| from_database(DOING, source))
    }
}

impl Store {
    /// Returns the used part of the server's queue of notifications, after what every listener has read has left it.
    ///
    /// PostgreSQL cleans the queue when notifications are added, which it refuses while the queue is full. So a full queue stays full,
    /// also once its reason is gone, until somebody asks for its use.
    pub(crate) async fn make_room_for_notifications(&self) -> Result<f64, Error> {
        self.query_value("make room for notifications", "select pg_notification_queue_usage()", &[]).await
    }
}

impl Notification {
    fn parse(payload: &str) -> Self {
        match payload {
            "" => Self::Mailbox,
            PROBE => Self::Probe,
            channel => Self::Bell { channel: channel.to_owned() },
        }
    }
}

const LISTENING: &str = "listen";

fn broken(source: tokio_postgres::Error) -> Error {
    from_database(LISTENING, source)
}

pub(super) fn messages(
    mut connection: Connection,
) -> impl Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Unpin {
    stream::poll_fn(move |context| connection.poll_message(context))
}
