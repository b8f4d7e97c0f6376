//! `start` refuses invalid settings and names them.

use pubsub::{Delivery, Error, PubSub};
use pubsub_tests::{Email, Sms, TestDatabase};
use std::error::Error as _;

async fn ok(_: Delivery<Sms>) -> pubsub::Handled {
    Ok(())
}

#[actix::test]
async fn one_process_cannot_use_a_subscription_name_twice() {
    let db = TestDatabase::new().await;
    let twice = db.pubsub().subscribe_fn("one", ok).subscribe_fn("one", ok).start().await.unwrap_err();
    assert_eq!(twice.to_string(), "subscription `one` of channel `sms` was given two handlers");
    // The same name on another channel is another subscription.
    let other = |_: Delivery<Email>| async { Ok(()) };
    db.pubsub().subscribe_fn("one", ok).subscribe_fn("one", other).start().await.unwrap();
}

#[actix::test]
async fn invalid_subscription_names_are_refused() {
    let db = TestDatabase::new().await;
    for name in ["", "Twilio", "twi lio", "-a", "é", &"x".repeat(64), "a'b"] {
        let refused = db.pubsub().subscribe_fn(name, ok).start().await.unwrap_err();
        assert!(matches!(refused, Error::InvalidSubscriptionName { .. }), "{name:?}: {refused:?}");
        assert!(refused.to_string().contains(&format!("`{name}`")), "{refused}");
    }
    for name in ["a", "0", "a.b-c_d", &"x".repeat(63)] {
        db.pubsub().subscribe_fn(name, ok).start().await.unwrap();
    }
}

#[actix::test]
async fn an_unreachable_database_is_a_connection_error() {
    let refused =
        PubSub::builder("postgres://nobody@127.0.0.1:1/nothing").subscribe_fn("one", ok).start().await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.to_string(), "cannot connect to the database");
    assert!(refused.source().is_some());
    let unreadable = PubSub::builder("postgres://u:secret@host:port/").start().await.unwrap_err();
    assert!(matches!(unreadable, Error::InvalidUrl(_)), "{unreadable:?}");
    assert!(!unreadable.to_string().contains("secret"));
}

#[test]
fn start_outside_an_actix_system_is_an_error() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let refused = runtime.block_on(PubSub::builder("postgres://localhost/x").subscribe_fn("one", ok).start());
    assert!(matches!(refused, Err(Error::NoActixSystem)));
}

#[actix::test]
async fn start_updates_a_subscriptions_settings() {
    let db = TestDatabase::new().await;
    let first = db.pubsub().subscribe_fn("one", ok).start().await.unwrap();
    assert_eq!(db.count("select max_attempts::bigint from pubsub.subscriptions").await, 4);
    drop(first);
    let options = pubsub::SubscribeOptions::new().max_attempts(7);
    let _second = db.pubsub().subscribe_fn_with("one", options, ok).start().await.unwrap();
    assert_eq!(db.count("select max_attempts::bigint from pubsub.subscriptions").await, 7);
    assert_eq!(db.count("select count(*) from pubsub.cursors").await, 1, "and it reads on where it was");
}

#[actix::test]
async fn a_channels_doc_comment_is_its_description_in_the_catalog() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let sql = "select description from pubsub.channels where name = 'sms'";
    let description: String = db.client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(description, "A text message: the seed's first channel.");
}
