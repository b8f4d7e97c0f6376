//! The one connection per process that listens for the bell.
//!
//! It never opens a transaction: a listener that sits in one keeps the server's notification queue from being emptied,
//! and a full queue makes everybody's NOTIFY fail.

use super::connect::{Connection, Target};
use crate::error::Error;
use futures_util::{Stream, StreamExt, stream};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;
use tokio_postgres::{AsyncMessage, Client};

/// The payload with which a listener tests its connection; no channel has this name.
const PROBE: &str = "?";

/// Something that the listening connection heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Events may be waiting on this channel.
    Bell { channel: String },
    /// Deliveries may be waiting in the mailbox.
    Mailbox,
    /// A listener, this one or another, tests its connection.
    Probe,
}

/// A listening connection: ask it to prove that it hears, and read what it hears from the stream.
#[derive(Debug)]
pub(crate) struct Ears {
    client: Client,
}

/// What is heard; it ends with an error when the connection does.
pub(crate) type Hearing = Pin<Box<dyn Stream<Item = Result<Heard, Error>>>>;

impl Target {
    /// Opens a connection that listens to the topic of all, and to that of a process. The stream must be polled for anything
    /// on it to happen.
    pub(crate) async fn listen(&self, process: i64, deadline: Duration) -> Result<(Ears, Hearing), Error> {
        let listen = format!("set idle_session_timeout = 0; listen pubsub; listen pubsub_{process}");
        let opening = async {
            let (client, connection) = self.connect().await?;
            let mut messages = messages(connection);
            {
                let listening = client.batch_execute(&listen);
                tokio::pin!(listening);
                loop {
                    tokio::select! {
                        done = &mut listening => break done.map_err(broken)?,
                        // Nothing can be heard yet; but the connection only works while it is polled.
                        message = messages.next() => if let Some(Err(source)) = message {
                            return Err(broken(source));
                        },
                    }
                }
            }
            let hearing = messages.filter_map(async |message| match message {
                Ok(AsyncMessage::Notification(note)) => Some(Ok(interpret(note.payload()))),
                Ok(_) => None,
                Err(source) => Some(Err(broken(source))),
            });
            Ok((Ears { client }, Box::pin(hearing) as Hearing))
        };
        tokio::time::timeout(deadline, opening)
            .await
            .unwrap_or(Err(Error::Timeout { doing: LISTENING, after: deadline }))
    }
}

impl Ears {
    /// Rings for all listeners: if the connection works, [`Heard::Probe`] follows.
    pub(crate) async fn probe(self: Rc<Self>, deadline: Duration) -> Result<(), Error> {
        const DOING: &str = "probe the listener";
        let ring = format!("notify pubsub, '{PROBE}'");
        let answered = tokio::time::timeout(deadline, self.client.batch_execute(&ring)).await;
        answered
            .map_err(|_| Error::Timeout { doing: DOING, after: deadline })?
            .map_err(|source| Error::Database { doing: DOING, source })
    }
}

const LISTENING: &str = "listen";

fn broken(source: tokio_postgres::Error) -> Error {
    Error::Database { doing: LISTENING, source }
}

fn messages(
    mut connection: Connection,
) -> impl Stream<Item = Result<AsyncMessage, tokio_postgres::Error>> + Unpin {
    stream::poll_fn(move |context| connection.poll_message(context))
}

fn interpret(payload: &str) -> Heard {
    match payload {
        "" => Heard::Mailbox,
        PROBE => Heard::Probe,
        channel => Heard::Bell { channel: channel.to_owned() },
    }
}
