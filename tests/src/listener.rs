//! Ears on the topic of the bell.

use crate::DEADLINE;
use std::future::poll_fn;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// A topic of our own: what is notified arrives in the order of the commits, so whatever was rung before our own
/// notification has arrived when that does.
const PROBE: &str = "bell_probe";

/// A connection that listens for the bell.
#[derive(Debug)]
pub struct BellListener {
    client: Client,
    heard: mpsc::UnboundedReceiver<(String, String)>,
}

impl BellListener {
    /// Listens in the database with this URL.
    pub async fn new(url: &str) -> Self {
        let (client, mut connection) =
            tokio_postgres::connect(url, NoTls).await.expect("a connection to the test's database");
        let (tell, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(bell) = message
                    && tell.send((bell.channel().to_owned(), bell.payload().to_owned())).is_err()
                {
                    return;
                }
            }
        });
        client.batch_execute(&format!("listen pubsub; listen {PROBE}")).await.expect("ears");
        Self { client, heard }
    }

    /// The payloads of all bells rung since the last call, by transactions that have committed. Listeners that test
    /// themselves are left out.
    pub async fn rung(&mut self) -> Vec<String> {
        self.client.batch_execute(&format!("notify {PROBE}")).await.expect("a probe");
        let mut rung = Vec::new();
        loop {
            let (topic, payload) = tokio::time::timeout(DEADLINE, self.heard.recv())
                .await
                .expect("the probe comes back in time")
                .expect("the connection lives");
            match topic.as_str() {
                PROBE => return rung,
                _ if payload.starts_with('?') => {}
                _ => rung.push(payload),
            }
        }
    }
}
