//! Retries, a rejection, and a dead letter that is redriven: `cargo run --example retry`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use pubsub::testing::Database;
use pubsub::{Backoff, Channel, Delivery, Failure, PubSub, SubscribeOptions, publish};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

#[derive(Serialize, Deserialize, Channel)]
#[channel("email", max_attempts = 5)]
struct Email {
    receiver: String,
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::empty().await?;
    pubsub::migrate(database.url()).await?;
    let mailbox_exists = Arc::new(AtomicBool::new(false));
    let exists = Arc::clone(&mailbox_exists);
    let options = SubscribeOptions::new().backoff(Backoff::exponential(Duration::from_millis(10)));
    let pubsub = PubSub::builder(database.url())
        .subscribe_fn_with("mailer", options, move |email: Delivery<Email>| {
            let exists = exists.load(Ordering::SeqCst);
            async move {
                println!("{}: attempt {}", email.receiver, email.attempt());
                match email.receiver.as_str() {
                    "busy" if email.attempt() < 3 => Err("the server is busy")?, // any error: retry after the backoff
                    "nobody" if !exists => Err(Failure::reject("no such mailbox"))?, // a dead letter at once
                    receiver => println!("{receiver}: sent"),
                }
                Ok(())
            }
        })
        .start()
        .await?;
    for receiver in ["busy", "nobody"] {
        publish(&pubsub, &Email { receiver: receiver.to_owned() }).await?;
    }

    let mailer = pubsub.subscription::<Email>("mailer");
    while mailer.dead_letters(None, 1).await?.is_empty() || pubsub.handlers()[0].handled < 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let letter = &mailer.dead_letters(None, 1).await?[0];
    println!("dead letter: {}, {}", letter.reason, letter.error.as_deref().unwrap_or_default());
    mailbox_exists.store(true, Ordering::SeqCst);
    println!("redriven: {}", mailer.redrive().await?);
    while pubsub.handlers()[0].handled < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    pubsub.drain(Duration::from_secs(10)).await;
    Ok(())
}
