//! Tests of an application: copy this file to `tests/` of your crate, and add `pubsub` with the feature `testing` to its
//! dev-dependencies. Then put your application in the place of `mod shop`. `docs/testing.md` explains it.
//!
//! Here it runs with `cargo test -p pubsub-examples --test testing`.

use pubsub::testing::{self, Database, Harness, assert_published};
use pubsub::{Delivery, Failure};
use shop::{App, Provider, Sms, Twilio};
use std::error::Error;
use std::time::Duration;

/// The application. In your crate: `use my_shop::{..};`.
mod shop {
    use actix::prelude::*;
    use pubsub::{Channel, Delivery, Failure, Handled, publish};
    use serde::{Deserialize, Serialize};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tokio_postgres::Transaction;

    /// A text message to a customer's phone.
    #[derive(Debug, Serialize, Deserialize, Channel)]
    #[channel("sms", max_attempts = 3)]
    pub(crate) struct Sms {
        pub(crate) number: String,
        pub(crate) msg: String,
    }

    pub(crate) async fn sign_up(
        transaction: &Transaction<'_>,
        name: &str,
        number: &str,
    ) -> Result<(), Box<dyn std::error::Error>> {
        transaction.execute("insert into users (name) values ($1)", &[&name]).await?;
        publish(transaction, &Sms { number: number.to_owned(), msg: format!("Welcome, {name}!") }).await?;
        Ok(())
    }

    /// The provider's interface. A test uses one that fails on demand.
    #[derive(Clone, Default)]
    pub(crate) struct Provider {
        pub(crate) is_down: Arc<AtomicBool>,
    }

    impl Provider {
        async fn send(&self, _: &Sms) -> Result<(), std::io::Error> {
            match self.is_down.load(Ordering::SeqCst) {
                true => Err(std::io::Error::other("the provider is down")),
                false => Ok(()),
            }
        }
    }

    pub(crate) struct Twilio {
        pub(crate) provider: Provider,
    }

    impl Actor for Twilio {
        type Context = Context<Self>;
    }

    impl Handler<Delivery<Sms>> for Twilio {
        type Result = ResponseFuture<Handled>;

        fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Self::Result {
            let provider = self.provider.clone();
            Box::pin(async move {
                if !sms.number.starts_with('+') {
                    return Err(Failure::reject("not a phone number"));
                }
                provider.send(&sms).await?;
                Ok(())
            })
        }
    }

    pubsub::routes! {
        pub(crate) App { Sms => Twilio }
    }
}

fn sms(number: &str) -> Sms {
    Sms { number: number.to_owned(), msg: "hello".to_owned() }
}

// A handler alone: no database, no runtime.
#[actix::test]
async fn a_wrong_number_is_rejected() {
    let mut twilio = Twilio { provider: Provider::default() };
    let answer = testing::handle(&mut twilio, Delivery::of(sms("030")).with_attempt(2)).await;
    assert_eq!(
        answer.map_err(|failure: Failure| failure.to_string()),
        Err("reject: not a phone number".to_owned())
    );
    assert!(testing::handle(&mut twilio, Delivery::of(sms("+4930"))).await.is_ok());
}

// A publisher alone: nothing is committed.
#[actix::test]
async fn signing_up_publishes_a_welcome() -> Result<(), Box<dyn Error>> {
    let database = Database::create().await?;
    let mut client = database.target().connect().await?;
    client.batch_execute("create table users (name text)").await?;
    // Running the application declares its channels.
    let _shop = start(&database, &Provider::default()).await?;

    let transaction = client.transaction().await?;
    shop::sign_up(&transaction, "Ada", "+4930").await?;
    assert_published!(&transaction, Sms { number, msg } if number == "+4930" && msg.starts_with("Welcome"));
    transaction.rollback().await?;
    Ok(())
}

// The whole application, and an hour that passes at once.
#[actix::test]
async fn an_sms_is_sent_when_the_provider_is_back() -> Result<(), Box<dyn Error>> {
    let database = Database::create().await?;
    let provider = Provider::default();
    let shop = start(&database, &provider).await?;
    let set_down = |is_down| provider.is_down.store(is_down, std::sync::atomic::Ordering::SeqCst);

    set_down(true);
    shop.publish(&sms("+4930")).await?;
    shop.settled().await?;
    shop.of::<Sms>("twilio").handled(0).failed(1);

    set_down(false);
    shop.pass(Duration::from_secs(3_600)).await?;
    shop.settled().await?;
    shop.of::<Sms>("twilio").handled(1).failed(1).given_up(0);
    Ok(())
}

#[actix::test]
async fn an_sms_that_nobody_can_send_becomes_a_dead_letter() -> Result<(), Box<dyn Error>> {
    let database = Database::create().await?;
    let shop = start(&database, &Provider::default()).await?;
    shop.publish(&sms("030")).await?;
    shop.settled().await?;
    shop.of::<Sms>("twilio").handled(0).given_up(1);
    let letters = shop.pubsub().subscription::<Sms>("twilio").dead_letters(None, 10).await?;
    assert_eq!(letters[0].error.as_deref(), Some("not a phone number"));
    Ok(())
}

async fn start(database: &Database, provider: &Provider) -> Result<Harness, pubsub::Error> {
    let provider = provider.clone();
    let twilio = move || Twilio { provider: provider.clone() };
    Harness::start(database, |builder| builder.routes(App::all().handler(twilio))).await
}
