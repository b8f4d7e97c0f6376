//! Publishing is the same through every driver.

mod documented;
mod driver;
mod errors;
mod prepared;

use actix::{Actor, Context, Handler};
use driver::{Driver, Transaction};
use pubsub::routing::Publisher;
use pubsub::testing::{assert_published, published_in};
use pubsub::{Channel, Delivery, Handled, PublishOptions, Published, publish, publish_all, publish_with};
use pubsub_tests::{Sms, TestDatabase, probe, sending};
use serde::{Deserialize, Serialize};

/// Runs tests that are generic in the driver, each as a test of its own for each driver.
macro_rules! on_every_driver {
    ($($test:ident),* $(,)?) => {$(
        mod $test {
            #[actix::test]
            async fn on_tokio_postgres() {
                super::$test::<tokio_postgres::Client>().await;
            }

            #[actix::test]
            async fn on_deadpool_postgres() {
                super::$test::<deadpool_postgres::Client>().await;
            }

            #[actix::test]
            async fn on_diesel_async() {
                super::$test::<diesel_async::AsyncPgConnection>().await;
            }

            #[actix::test]
            async fn on_sea_orm() {
                super::$test::<sea_orm::DatabaseConnection>().await;
            }

            #[actix::test]
            async fn on_sqlx() {
                super::$test::<sqlx::PgConnection>().await;
            }
        }
    )*};
}
use on_every_driver;

on_every_driver!(
    only_what_commits_is_delivered,
    a_duplicate_is_told_to_the_publisher,
    the_options_of_a_publisher_are_stored,
    many_events_are_published_in_their_order,
    many_events_are_published_without_their_duplicates,
    a_publisher_of_routes_takes_any_driver,
    a_delivery_is_settled_in_the_transaction_of_its_handler,
    a_test_sees_what_the_transaction_has_published,
);

/// A note that may be about something, and may be published only once.
#[derive(Debug, Clone, Serialize, Deserialize, Channel)]
#[channel("executors.note", key = about, dedupe = "{once}")]
struct Note {
    about: Option<String>,
    once: Option<String>,
}

impl Note {
    fn about(about: &str) -> Self {
        Self { about: Some(about.to_owned()), once: None }
    }

    fn once(once: &str) -> Self {
        Self { about: None, once: Some(once.to_string()) }
    }
}

/// Texts that a driver may write wrongly.
const TEXTS: [&str; 8] = ["null", "", "NULL", "a,b", r#""{}"#, r"back\slash", "grüße 🦀", " two\nlines '$1'"];

async fn only_what_commits_is_delivered<D: Driver>() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    let mut driver = D::connect(db.url()).await;

    let mut transaction = driver.begin().await;
    publish(transaction.executor(), &Sms::new("rolled back")).await.unwrap();
    transaction.rollback().await;

    let mut transaction = driver.begin().await;
    let first = publish(transaction.executor(), &Sms::new("first")).await.unwrap();
    let second = publish(transaction.executor(), &Sms::new("second")).await.unwrap();
    assert!(first.id() < second.id() && !first.is_duplicate());
    assert_eq!(
        db.count("select count(*) from pubsub.db_events").await,
        0,
        "nothing is seen before the commit"
    );
    transaction.commit().await;

    assert_eq!(received.take(2).await, ["first", "second"]);
    db.until_settled().await;
    assert!(received.rest().is_empty());
}

async fn a_duplicate_is_told_to_the_publisher<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Note>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    let note = Note::once("welcome");

    let mut transaction = driver.begin().await;
    publish(transaction.executor(), &note).await.unwrap();
    transaction.rollback().await;

    let mut transaction = driver.begin().await;
    let first = publish(transaction.executor(), &note).await.unwrap();
    assert!(matches!(first, Published::New(_)), "a rollback frees the key: {first:?}");
    assert_eq!(publish(transaction.executor(), &note).await.unwrap(), Published::Duplicate(first.id()));
    transaction.commit().await;

    let mut transaction = driver.begin().await;
    assert_eq!(publish(transaction.executor(), &note).await.unwrap(), Published::Duplicate(first.id()));
    let other = PublishOptions::new().dedupe_key("another");
    assert!(!publish_with(transaction.executor(), &note, &other).await.unwrap().is_duplicate());
    transaction.commit().await;
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 2);
}

async fn the_options_of_a_publisher_are_stored<D: Driver>() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let handler = sending(sender, |sms: Delivery<Sms>| sms);
    let _pubsub = db.pubsub().subscribe_fn("one", handler).start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    let mut transaction = driver.begin().await;
    for text in TEXTS {
        let options = PublishOptions::new().key(text).header("said", text);
        publish_with(transaction.executor(), &Sms::new(text), &options).await.unwrap();
    }
    transaction.commit().await;
    for (delivery, text) in received.take(TEXTS.len()).await.into_iter().zip(TEXTS) {
        assert_eq!((delivery.key(), delivery.msg.as_str()), (Some(text), text));
        assert_eq!(delivery.headers()["said"], text);
    }
}

async fn many_events_are_published_in_their_order<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Note>().declare::<Sms>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    let mut transaction = driver.begin().await;
    let many: Vec<Sms> = (0..2_500).map(|n| Sms::new(n.to_string())).collect();
    assert_eq!(publish_all(transaction.executor(), &many).await.unwrap(), 2_500);
    let mut notes: Vec<Note> = TEXTS.map(Note::about).into();
    notes.push(Note { about: None, once: None });
    assert_eq!(publish_all(transaction.executor(), &notes).await.unwrap(), 9);
    transaction.commit().await;

    let in_order = "select count(*) from (
                        select payload ->> 'msg' as msg, row_number() over (order by id) - 1 as n
                          from pubsub.db_events where channel = 'sms'
                    ) e where msg = n::text";
    assert_eq!(db.count(in_order).await, 2_500);
    let sql =
        "select key, payload ->> 'about' from pubsub.db_events where channel = 'executors.note' order by id";
    let rows = db.client.query(sql, &[]).await.unwrap();
    let expected = TEXTS.map(Some).into_iter().chain([None]);
    for (row, text) in rows.iter().zip(expected) {
        assert_eq!((row.get::<_, Option<&str>>(0), row.get::<_, Option<&str>>(1)), (text, text));
    }
}

async fn many_events_are_published_without_their_duplicates<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Note>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    let mut transaction = driver.begin().await;
    let notes: Vec<Note> =
        (0..1_200).map(|n| Note::once(&n.to_string())).chain(TEXTS.map(Note::once)).collect();
    assert_eq!(publish_all(transaction.executor(), &notes).await.unwrap(), 1_208);
    transaction.commit().await;

    let mut transaction = driver.begin().await;
    let more = [Note::about("x"), Note::once("7"), Note::once(r#""{}"#), Note::once("new"), Note::about("x")];
    assert_eq!(publish_all(transaction.executor(), &more).await.unwrap(), 3);
    assert_eq!(publish_all(transaction.executor(), &notes).await.unwrap(), 0);
    assert_eq!(publish_all(transaction.executor(), [] as [&Note; 0]).await.unwrap(), 0);
    transaction.commit().await;
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 1_211);
}

#[derive(Default)]
struct Sink;

impl Actor for Sink {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Sink {
    type Result = Handled;

    fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Handled {
        Ok(())
    }
}

pubsub::routes! {
    App { Sms => Sink }
}

async fn a_publisher_of_routes_takes_any_driver<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    let publisher = Publisher::<App>::new();
    let mut transaction = driver.begin().await;
    publisher.publish(transaction.executor(), &Sms::new("one")).await.unwrap();
    let options = PublishOptions::new().key("two");
    publisher.publish_with(transaction.executor(), &Sms::new("two"), &options).await.unwrap();
    assert_eq!(publisher.publish_all(transaction.executor(), &[Sms::new("three")]).await.unwrap(), 1);
    transaction.commit().await;
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 3);
}

#[actix::test]
async fn a_connection_publishes_without_a_transaction() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = db.receive("one").await;
    let mut sqlx = sqlx::PgConnection::connect(db.url()).await;
    publish(&mut sqlx, &Sms::new("sqlx")).await.unwrap();
    assert_eq!(received.next().await, "sqlx");
    let sea_orm = sea_orm::DatabaseConnection::connect(db.url()).await;
    publish(&sea_orm, &Sms::new("sea-orm")).await.unwrap();
    assert_eq!(received.next().await, "sea-orm");
    let mut diesel = diesel_async::AsyncPgConnection::connect(db.url()).await;
    publish(&mut diesel, &Sms::new("diesel-async")).await.unwrap();
    assert_eq!(received.next().await, "diesel-async");
}

async fn a_delivery_is_settled_in_the_transaction_of_its_handler<D: Driver + 'static>() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let url = db.url().to_owned();
    let handle = move |sms: Delivery<Sms>| {
        let (url, sender) = (url.clone(), sender.clone());
        async move {
            let mut driver = D::connect(&url).await;
            let mut transaction = driver.begin().await;
            sms.settle_in(transaction.executor()).await?;
            if sms.attempt() == 1 {
                transaction.rollback().await;
            } else {
                transaction.commit().await;
            }
            sender.send(sms.attempt());
            Ok(())
        }
    };
    let _pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    publish(&db.client, &Sms::new("hello")).await.unwrap();
    assert_eq!(received.take(2).await, [1, 2]);
    db.until_settled().await;
    assert!(received.rest().is_empty());
}

async fn a_test_sees_what_the_transaction_has_published<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Note>().start().await.unwrap();
    publish(&db.client, &Note::about("committed")).await.unwrap();
    let mut connection = D::connect(db.url()).await;
    let mut transaction = connection.begin().await;
    assert!(published_in::<Note>(transaction.executor()).await.unwrap().is_empty());
    publish(transaction.executor(), &Note::about("ada")).await.unwrap();
    publish(transaction.executor(), &Note::once("only")).await.unwrap();
    assert_published!(transaction.executor(), Note { about: Some(about), .. } if about == "ada");
    assert_published!(transaction.executor(), Note { once: Some(_), .. });
    assert_eq!(published_in::<Note>(transaction.executor()).await.unwrap().len(), 2);
    transaction.rollback().await;
}
