//! One event, one handler: `cargo run --example hello`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use pubsub::testing::Database;
use pubsub::{Channel, Delivery, PubSub, publish};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize, Channel)]
#[channel("greeting")]
struct Greeting {
    name: String,
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // A new database on the server of `DATABASE_URL`, or on a throwaway server. Your application passes its own URL.
    let database = Database::empty().await?;
    pubsub::migrate(database.url()).await?;

    let (sender, mut handled) = mpsc::unbounded_channel();
    let pubsub = PubSub::builder(database.url())
        .subscribe_fn("greeter", move |greeting: Delivery<Greeting>| {
            let sender = sender.clone();
            async move {
                println!("Hello, {}! This is event {}.", greeting.name, greeting.event_id());
                sender.send(())?;
                Ok(())
            }
        })
        .start()
        .await?;

    let published = publish(&pubsub, &Greeting { name: "Ada".to_owned() }).await?;
    println!("Published event {}.", published.id());
    handled.recv().await;
    pubsub.drain(Duration::from_secs(10)).await;
    Ok(())
}
