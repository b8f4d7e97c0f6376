//! Rust and SQL agree: on names, keys and deduplication keys, and on what a settlement means. Each property has one database.

mod settling;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use pubsub::{Delivery, Error, PubSub, PublishOptions, publish_with};
use pubsub_tests::{Sms, TestDatabase};
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

/// Checks a property of values with one database.
fn check<T: std::fmt::Debug>(
    values: &impl Strategy<Value = T>,
    property: &impl AsyncFn(&Client, T) -> TestCaseResult,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let db = runtime.block_on(TestDatabase::new());
    runtime.block_on(db.client.batch_execute("select pubsub.declare_channel('sms')")).unwrap();
    let client = &db.client;
    let run = TestRunner::default().run(values, |value| runtime.block_on(property(client, value)));
    run.unwrap_or_else(|failed| panic!("{failed}"));
    runtime.block_on(async { drop(db) });
}

type TestCaseResult = Result<(), TestCaseError>;

/// Runs a query and rolls it back. Returns the error of the database, if it refuses.
async fn refusal(
    client: &Client,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Option<tokio_postgres::Error> {
    client.batch_execute("begin").await.unwrap();
    let refused = client.query(sql, parameters).await.err();
    client.batch_execute("rollback").await.unwrap();
    refused
}

/// Names, and texts that are nearly names.
fn names() -> impl Strategy<Value = String> {
    let nearly = ("[a-z0-9][a-z0-9._-]{0,5}", any::<char>(), "[a-z0-9._-]{0,5}")
        .prop_map(|(start, letter, end)| format!("{start}{letter}{end}"));
    let letters = prop_oneof!["[A-Zß ]", Just("\u{131}".to_owned()), Just("\n".to_owned())];
    let with_a_letter = ("[a-z]{0,2}", letters, "[a-z]{0,2}").prop_map(|(a, b, c)| format!("{a}{b}{c}"));
    prop_oneof!["[a-z0-9][a-z0-9._-]{0,62}", "[a-z0-9._-]{0,66}", "[a-z]{62,65}", nearly, with_a_letter, ".*"]
}

/// Whether the runtime refuses to start a subscription of this name. It looks at names before anything else.
async fn is_refused_by_rust(name: &str) -> bool {
    let builder = PubSub::builder("").subscribe_fn(name, |_: Delivery<Sms>| async { Ok(()) });
    matches!(builder.start().await, Err(Error::InvalidSubscriptionName { .. }))
}

#[test]
fn rust_and_sql_accept_the_same_names() {
    check(&names(), &async |client, name| {
        let rust = is_refused_by_rust(&name).await;
        let channel = refusal(client, "select pubsub.declare_channel($1)", &[&name]).await;
        let subscription = refusal(client, "select pubsub.subscribe('sms', $1)", &[&name]).await;
        prop_assert_eq!((channel.is_some(), subscription.is_some()), (rust, rust), "{:?}", channel);
        Ok(())
    });
}

#[test]
fn no_error_has_a_control_character_of_a_name() {
    check(&"[^\0]{0,20}", &async |client, name| {
        for sql in [
            "select pubsub.declare_channel($1::text || '!')",
            "select pubsub.publish($1::text || '!', '{}')",
            "select * from pubsub.publish_once($1::text || '!', '{}', 'k')",
            "select pubsub.subscribe($1::text || '!', 'one')",
            "select pubsub.lag('sms', $1::text || '!')",
            "select pubsub.lag($1::text || '!', 'one')",
            "select pubsub.seek('sms', $1::text || '!', 'now')",
            "select pubsub.redrive($1::text || '!', 'one')",
            "select pubsub.unsubscribe('sms', $1::text || '!')",
            "select pubsub.drop_channel($1::text || '!')",
            "select pubsub.set_retention($1::text || '!', null)",
            "select pubsub.grant_rights(left($1::text, 9)::name, 'observer')",
            "select pubsub.grant_rights(current_user, $1::text || '!')",
        ] {
            let refused = refusal(client, sql, &[&name]).await;
            let Some(refused) = refused.as_ref().and_then(tokio_postgres::Error::as_db_error) else {
                return Err(TestCaseError::fail(format!("{sql}: {refused:?}")));
            };
            let texts = [refused.message(), refused.hint().unwrap_or_default()];
            prop_assert!(!texts.concat().contains(char::is_control), "{}: {:?}", sql, texts);
        }
        let texts = [
            Error::InvalidSubscriptionName { name: name.clone() }.to_string(),
            format!("{name}!").parse::<pubsub::EventId>().unwrap_err().to_string(),
        ];
        prop_assert!(!texts.concat().contains(char::is_control), "{:?}", texts);
        Ok(())
    });
}

/// Keys, often about as long as they may be.
fn keys() -> impl Strategy<Value = String> {
    let long = (any::<char>(), 1020_usize..1030).prop_map(|(letter, bytes)| {
        letter.to_string().repeat(bytes / letter.len_utf8()) + &"x".repeat(bytes % letter.len_utf8())
    });
    prop_oneof![".*", any::<String>(), long, Just(String::new()), Just("a\0b".to_owned())]
}

#[test]
fn rust_and_sql_accept_the_same_keys() {
    check(&keys(), &async |client, key| {
        for (options, sql) in [
            (PublishOptions::new().key(&key), "select pubsub.publish('sms', '{\"msg\": \"\"}', key => $1)"),
            (
                PublishOptions::new().dedupe_key(&key),
                "select * from pubsub.publish_once('sms', '{\"msg\": \"\"}', $1)",
            ),
            (
                PublishOptions::new().dedupe_key(&key),
                "select pubsub.publish_all_once('sms', array['{\"msg\": \"\"}']::jsonb[], array[$1])",
            ),
        ] {
            client.batch_execute("begin").await.unwrap();
            let rust = publish_with(client, &Sms::new(""), &options).await;
            let kept = "select coalesce(max(key), '') from pubsub.db_events";
            let kept = match rust {
                Ok(_) => client.query_one(kept, &[]).await.unwrap().get(0),
                Err(_) => String::new(),
            };
            client.batch_execute("rollback").await.unwrap();
            prop_assert!(kept.is_empty() || kept == key, "{:?}", kept);
            let refused = refusal(client, sql, &[&key]).await;
            prop_assert_eq!(refused.is_some(), rust.is_err(), "{}: {:?}, {:?}", sql, refused, rust);
        }
        Ok(())
    });
}
