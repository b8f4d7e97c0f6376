//! A process that migrates and subscribes. Both releases are built from this file.

use pubsub::{Channel, Delivery, Failure, Handled, PubSub, SubscribeOptions};
use serde::{Deserialize, Serialize};
use std::pin::Pin;
use std::sync::Arc;
use tokio_postgres::{Client, NoTls};

/// An event with a number.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("rolled", max_attempts = 3, backoff(initial = "20ms", max = "40ms"))]
pub(crate) struct Rolled {
    /// Its number.
    pub(crate) number: i64,
}

/// Migrates, subscribes, and works until the process is killed. Reports each step.
pub(crate) async fn work(release: &str, url: &str, report: impl Fn(&str)) {
    if let Err(error) = pubsub::migrate(url).await {
        return report(&format!("migrate: {error}"));
    }
    report("migrated");
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.expect("a connection");
    actix::spawn(connection);
    let (client, worker) = (Arc::new(client), format!("{release} {}", std::process::id()));
    // Few at once, so that the work is shared by all processes.
    let options = SubscribeOptions::new().concurrency(2);
    let started = PubSub::builder(url)
        .subscribe_fn_with("unordered", options, handler(&client, "unordered", &worker))
        .subscribe_fn_with("ordered", options.ordered(), handler(&client, "ordered", &worker))
        .start()
        .await;
    match started {
        Ok(_pubsub) => {
            report("started");
            std::future::pending::<()>().await;
        }
        Err(error) => report(&format!("start: {error}")),
    }
}

type Handling = Pin<Box<dyn Future<Output = Handled>>>;

/// Returns a handler that records what it handles. It fails at the first attempt of every tenth event.
fn handler(
    client: &Arc<Client>,
    subscription: &'static str,
    worker: &str,
) -> impl Fn(Delivery<Rolled>) -> Handling + Clone + Send + Unpin + 'static {
    let (client, worker) = (client.clone(), worker.to_owned());
    move |rolled: Delivery<Rolled>| {
        let (client, worker) = (client.clone(), worker.clone());
        Box::pin(async move {
            if rolled.number % 10 == 0 && rolled.attempt() == 1 {
                return Err(Failure::retry("not at the first attempt"));
            }
            let record = "insert into public.handled (subscription, number, worker) values ($1, $2, $3)";
            client.execute(record, &[&subscription, &rolled.number, &worker]).await?;
            Ok(())
        })
    }
}
