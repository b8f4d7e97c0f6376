//! Ears on the topic of the bell.

use crate::deadline::DEADLINE;
use std::future::poll_fn;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// A topic of our own: what is notified arrives in the order of the commits, so whatever was rung before our own
/// notification has arrived when that does.
const PROBE: &str = "bell_probe";

/// What a listener notifies to test whether it hears.
const TEST: &str = "?";

/// The bells of the first processes are heard, too.
const PROCESSES: std::ops::RangeInclusive<i64> = 1..=8;

/// A connection that listens for the bell.
#[derive(Debug)]
pub struct BellListener {
    client: Client,
    received: mpsc::UnboundedReceiver<(String, String)>,
}

impl BellListener {
    /// Listens in the database with this URL.
    pub async fn new(url: &str) -> Self {
        let (client, mut connection) =
            tokio_postgres::connect(url, NoTls).await.expect("a connection to the test's database");
        let (sender, received) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(bell) = message
                    && sender.send((bell.channel().to_owned(), bell.payload().to_owned())).is_err()
                {
                    return;
                }
            }
        });
        let topics = PROCESSES.map(|process| format!("listen pubsub_{process};")).collect::<String>();
        client.batch_execute(&format!("{topics} listen pubsub; listen {PROBE}")).await.expect("ears");
        Self { client, received }
    }

    /// The bells rung since the last call, by transactions that have committed: payloads, and after them the process for
    /// which they were rung, if it was one. Listeners that test themselves are left out.
    pub async fn rung(&mut self) -> Vec<String> {
        let bells = self.heard_by_now().await.into_iter().filter(|(_, payload)| payload != TEST);
        bells
            .map(|(topic, payload)| match topic.strip_prefix("pubsub_") {
                Some(process) => format!("{payload} {process}"),
                None => payload,
            })
            .collect()
    }

    /// How many listeners have tested themselves since the last call to this or [`BellListener::rung`].
    pub async fn tests(&mut self) -> usize {
        self.heard_by_now().await.iter().filter(|(_, payload)| payload == TEST).count()
    }

    /// Topics and payloads.
    async fn heard_by_now(&mut self) -> Vec<(String, String)> {
        self.client.batch_execute(&format!("notify {PROBE}")).await.expect("a probe");
        let mut received = Vec::new();
        loop {
            let (topic, payload) = tokio::time::timeout(DEADLINE, self.received.recv())
                .await
                .expect("the probe comes back in time")
                .expect("the connection lives");
            if topic == PROBE {
                return received;
            }
            received.push((topic, payload));
        }
    }
}
