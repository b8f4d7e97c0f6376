//! Records the notifications of the bell.

use crate::deadline::DEADLINE;
use std::future::poll_fn;
use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client, NoTls};

/// Our own topic. Notifications arrive in the order of the commits, so when our own arrives, all earlier bells have
/// arrived.
const PROBE: &str = "bell_probe";

/// The payload of a listener's test notification.
const TEST: &str = "?";

/// The most processes, of those that registered last and of the next ones, whose own bells are recorded too.
const PROCESSES: i64 = 8;

/// A connection that records bells.
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
        let last = "select last_value from pubsub.processes_id_seq";
        let last: i64 = client.query_one(last, &[]).await.expect("the schema").get(0);
        let processes = (last - PROCESSES).max(1)..=last + PROCESSES;
        let topics = processes.map(|process| format!("listen pubsub_{process};")).collect::<String>();
        client.batch_execute(&format!("{topics} listen pubsub; listen {PROBE}")).await.expect("it listens");
        Self { client, received }
    }

    /// The bells since the last call from committed transactions: the payload, followed by the process if the bell was for
    /// one. Tests of listeners are left out.
    pub async fn rung(&mut self) -> Vec<String> {
        let bells = self.received_by_now().await.into_iter().filter(|(_, payload)| payload != TEST);
        bells
            .map(|(topic, payload)| match topic.strip_prefix("pubsub_") {
                Some(process) => format!("{payload} {process}"),
                None => payload,
            })
            .collect()
    }

    /// The number of tests by listeners since the last call of this method or of [`BellListener::rung`].
    pub async fn tests(&mut self) -> usize {
        self.received_by_now().await.iter().filter(|(_, payload)| payload == TEST).count()
    }

    /// The topics and payloads that have arrived.
    async fn received_by_now(&mut self) -> Vec<(String, String)> {
        self.client.batch_execute(&format!("notify {PROBE}")).await.expect("a probe");
        let mut received = Vec::new();
        loop {
            let (topic, payload) = tokio::time::timeout(DEADLINE, self.received.recv())
                .await
                .expect("the probe arrives in time")
                .expect("the connection is open");
            if topic == PROBE {
                return received;
            }
            received.push((topic, payload));
        }
    }
}
