//! Events commit with your data, or not at all: `cargo run --example transaction`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use pubsub::testing::Database;
use pubsub::{Channel, Delivery, PubSub, publish};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize, Channel)]
#[channel("user.added")]
struct UserAdded {
    name: String,
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::empty().await?;
    pubsub::migrate(database.url()).await?;
    let mut client = database.target().connect().await?;
    client.batch_execute("create table users (name text primary key)").await?;

    let (sender, mut welcomed) = mpsc::unbounded_channel();
    let pubsub = PubSub::builder(database.url())
        .subscribe_fn("welcome", move |user: Delivery<UserAdded>| {
            let sent = sender.send(user.into_payload().name);
            async move { Ok(sent?) }
        })
        .start()
        .await?;

    for (name, is_valid) in [("Eve", false), ("Grace", true)] {
        let transaction = client.transaction().await?;
        transaction.execute("insert into users values ($1)", &[&name]).await?;
        publish(&transaction, &UserAdded { name: name.to_owned() }).await?;
        if is_valid {
            transaction.commit().await?;
            println!("{name}: committed");
        } else {
            transaction.rollback().await?;
            println!("{name}: rolled back");
        }
    }

    println!("Welcome, {}!", welcomed.recv().await.ok_or("no event")?);
    pubsub.drain(Duration::from_secs(10)).await;
    Ok(())
}
