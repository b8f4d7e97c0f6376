//! Events of one key, in order, while a retry delays only its own key: `cargo run --example ordered`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use pubsub::testing::Database;
use pubsub::{Backoff, Channel, Delivery, PubSub, SubscribeOptions, publish_all};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize, Channel)]
#[channel("account.changed", key = account, ordered)]
struct AccountChanged {
    account: String,
    step: u32,
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::empty().await?;
    pubsub::migrate(database.url()).await?;

    let (sender, mut handled) = mpsc::unbounded_channel();
    let options = SubscribeOptions::new().backoff(Backoff::exponential(Duration::from_millis(200)));
    let pubsub = PubSub::builder(database.url())
        .subscribe_fn_with("ledger", options, move |change: Delivery<AccountChanged>| {
            let sender = sender.clone();
            async move {
                let AccountChanged { account, step } = &*change;
                if account == "ada" && *step == 1 && change.attempt() == 1 {
                    println!("{account} {step}: not yet");
                    return Err("the bank is closed".into());
                }
                println!("{account} {step}: done");
                sender.send(())?;
                Ok(())
            }
        })
        .start()
        .await?;

    let changes: Vec<AccountChanged> = (1..=3)
        .flat_map(|step| ["ada", "grace"].map(|account| AccountChanged { account: account.to_owned(), step }))
        .collect();
    publish_all(&pubsub, &changes).await?;
    for _ in &changes {
        handled.recv().await;
    }
    pubsub.drain(Duration::from_secs(10)).await;
    Ok(())
}
