//! Routes build the runtime and limit the publisher.

use actix::{Actor, Context, Handler};
use pubsub::routing::{Publisher, Unrouted};
use pubsub::{Delivery, Error, Handled, PublishOptions, SubscribeOptions};
use pubsub_tests::{Email, Sender, Sms, TestDatabase, probe};
use std::collections::BTreeSet;
use std::time::Duration;

/// Sends its deliveries to the test, with their subscription.
struct Recorder {
    sender: Sender<(String, String)>,
}

impl Actor for Recorder {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Recorder {
    type Result = Handled;

    fn handle(&mut self, sms: Delivery<Sms>, _: &mut Self::Context) -> Handled {
        self.sender.send((sms.subscription().to_owned(), sms.msg.clone()));
        Ok(())
    }
}

impl Handler<Delivery<Email>> for Recorder {
    type Result = Handled;

    fn handle(&mut self, email: Delivery<Email>, _: &mut Self::Context) -> Handled {
        self.sender.send((email.subscription().to_owned(), email.receiver.clone()));
        Ok(())
    }
}

/// It has a default, so it needs no factory.
#[derive(Default)]
struct SilentAudit;

impl Actor for SilentAudit {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for SilentAudit {
    type Result = Handled;

    fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Handled {
        Ok(())
    }
}

pubsub::routes! {
    App {
        Sms => [
            Recorder,
            Recorder as "second" with SubscribeOptions::new().max_attempts(7).concurrency(1),
            SilentAudit,
        ],
        Email => Recorder,
    }
}

/// The subscriptions in the database, with their limits of attempts.
async fn subscriptions(db: &TestDatabase) -> BTreeSet<(String, String, i32)> {
    let rows = db
        .client
        .query(
            "select channel, name, max_attempts
               from pubsub.subscriptions",
            &[],
        )
        .await
        .unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

fn set<const N: usize>(items: [(&str, &str, i32); N]) -> BTreeSet<(String, String, i32)> {
    items.into_iter().map(|(channel, name, attempts)| (channel.into(), name.into(), attempts)).collect()
}

#[actix::test]
async fn each_route_is_a_subscription_named_as_declared() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handlers = App::all().handler(move || Recorder { sender: sender.clone() });
    let pubsub = db.pubsub().routes(handlers).start().await.unwrap();
    assert_eq!(
        subscriptions(&db).await,
        set([
            ("sms", "recorder", 4),
            ("sms", "second", 7),
            ("sms", "silent-audit", 4),
            ("email", "recorder", 2)
        ])
    );

    App::publisher().publish(&db.client, &Sms::new("hello")).await.unwrap();
    App::publisher().publish(&db.client, &Email { receiver: "ada".into() }).await.unwrap();
    let received: BTreeSet<_> = received.take(3).await.into_iter().collect();
    let expected = [("recorder", "hello"), ("second", "hello"), ("recorder", "ada")];
    assert_eq!(received, expected.map(|(who, what)| (who.to_owned(), what.to_owned())).into());
    db.until_settled().await;
    assert_eq!(pubsub.handlers().len(), 4, "each with a handler of its own");
}

#[actix::test]
async fn a_publish_only_process_leaves_its_events_for_handlers() {
    let db = TestDatabase::new().await;
    let web = db.pubsub().routes(App::only()).start().await.unwrap();
    assert_eq!(subscriptions(&db).await.len(), 4, "they exist before any process runs them");
    assert!(web.handlers().is_empty());
    App::publisher().publish(&web, &Sms::new("early")).await.unwrap();

    let (sender, mut received) = probe();
    let handlers = App::only().handler(move || Recorder { sender: sender.clone() });
    let worker = db.pubsub().routes(handlers).start().await.unwrap();
    assert_eq!(worker.handlers().len(), 3, "those of `Recorder`, and not `SilentAudit`");
    let received: BTreeSet<_> = received.take(2).await.into_iter().collect();
    assert_eq!(received, ["recorder", "second"].map(|who| (who.to_owned(), "early".to_owned())).into());
}

#[actix::test]
async fn a_publisher_uses_a_transaction_or_a_runtime() {
    let mut db = TestDatabase::new().await;
    let pubsub = db.pubsub().routes(App::only()).start().await.unwrap();
    let app = App::publisher();
    let events: Vec<Sms> = (0..3).map(|n| Sms::new(n.to_string())).collect();

    let transaction = db.client.transaction().await.unwrap();
    app.publish(&transaction, &events[0]).await.unwrap();
    app.publish_all(&transaction, &events).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 0);

    let transaction = db.client.transaction().await.unwrap();
    app.publish(&transaction, &events[0]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(app.publish_all(&pubsub, &events).await.unwrap(), 3);
    let options = PublishOptions::new().key("k");
    app.publish_with(&pubsub, &events[0], &options).await.unwrap();
    Publisher::<Unrouted>::new().publish(&pubsub, &events[0]).await.unwrap();
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 6);
    assert_eq!(db.count("select count(*) from pubsub.db_events where key = 'k'").await, 1);

    pubsub.drain(Duration::from_secs(30)).await;
    let late = app.publish(&pubsub, &events[0]).await;
    assert!(matches!(late, Err(Error::Stopped)), "{late:?}");
}
