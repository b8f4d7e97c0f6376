//! A publish that fails says why, whichever driver it used, and the driver's own error is its source.

use super::driver::{Driver, Transaction};
use super::on_every_driver;
use pubsub::schema::PayloadError;
use pubsub::testing::Database;
use pubsub::{Channel, Error, publish, publish_all};
use pubsub_tests::{Email, Proxy, Sms, TestDatabase};
use sea_orm::{ConnectOptions, TransactionTrait as _};
use serde::{Deserialize, Serialize};
use std::error::Error as _;
use std::time::Duration;

on_every_driver!(
    an_undeclared_channel_is_named,
    an_oversize_payload_is_refused,
    a_database_without_the_schema_is_refused,
    a_lost_connection_may_pass,
    a_cut_connection_may_pass,
    a_conflict_may_pass,
    an_error_does_not_quote_redacted_fields,
);

/// Publishes in a transaction that is then rolled back, and returns the error.
async fn refused<D: Driver, C: Channel>(driver: &mut D, event: &C) -> Error {
    let mut transaction = driver.begin().await;
    let refused = publish(transaction.executor(), event).await.unwrap_err();
    transaction.rollback().await;
    refused
}

async fn an_undeclared_channel_is_named<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    let refused = refused(&mut driver, &Email { receiver: "ada@example.com".into() }).await;
    assert!(matches!(refused, Error::UndeclaredChannel { .. }), "{refused:?}");
    assert!(refused.to_string().starts_with("channel \"email\" is not declared. A channel is"), "{refused}");
    assert_eq!((refused.code(), refused.is_retryable()), ("PB001", false));

    let mut transaction = driver.begin().await;
    publish(transaction.executor(), &Sms::new("the connection is as good as before")).await.unwrap();
    transaction.commit().await;
}

async fn an_oversize_payload_is_refused<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    let large = Sms::new("x".repeat(300 * 1024));
    let one = refused(&mut driver, &large).await;
    let mut transaction = driver.begin().await;
    let many = publish_all(transaction.executor(), [&Sms::new("small"), &large]).await.unwrap_err();
    transaction.rollback().await;
    for refused in [one, many] {
        assert_eq!(refused.code(), "PB002");
        let said = "a payload of 307211 bytes is over the limit of 262144 bytes of channel \"sms\"";
        assert_eq!(refused.to_string(), said);
    }
}

async fn a_database_without_the_schema_is_refused<D: Driver>() {
    let database = Database::empty().await.unwrap();
    let mut driver = D::connect(database.url()).await;
    let refused = refused(&mut driver, &Sms::new("hello")).await;
    assert_eq!(refused.code(), if D::TELLS_SQLSTATE { "42P01" } else { "database" });
    assert!(!refused.is_retryable());
    let source = refused.source().unwrap();
    assert!(D::is_own(source), "{source:?}");
    assert!(format!("{refused:?}").contains("\"pubsub.db_events\" does not exist"), "{refused:?}");
}

async fn a_lost_connection_may_pass<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    let mut transaction = driver.begin().await;
    publish(transaction.executor(), &Sms::new("lost")).await.unwrap();
    let others = "from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
    db.count(&format!("select count(pg_terminate_backend(pid)) {others}")).await;
    db.until_count(&format!("select count(*) {others}"), 0).await;
    let lost = publish(transaction.executor(), &Sms::new("lost too")).await.unwrap_err();
    assert!(D::is_own(lost.source().unwrap()), "{lost:?}");
    // Without a SQLSTATE, the server's farewell is one of its errors like another.
    assert!(lost.is_retryable() || !D::TELLS_SQLSTATE && lost.code() == "database", "{lost:?}");
}

/// The server says no word. The channel has redacted fields, so only an error of the connection keeps its own words.
async fn a_cut_connection_may_pass<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Login>().start().await.unwrap();
    let proxy = Proxy::start(db.url()).await;
    let mut driver = D::connect(&proxy.url(db.url())).await;
    let mut transaction = driver.begin().await;
    publish(transaction.executor(), &Login::ada()).await.unwrap();
    proxy.cut();
    let open = "select count(*) from pg_stat_activity where datname = current_database() and state = 'idle in transaction'";
    db.until_count(open, 0).await;
    let lost = publish(transaction.executor(), &Login::ada()).await.unwrap_err();
    assert!(matches!(lost, Error::Database { .. }) && lost.is_retryable(), "{lost:?}");
    assert!(D::is_own(lost.source().unwrap()), "{lost:?}");
}

#[actix::test]
async fn a_pool_without_a_free_connection_may_pass() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Login>().start().await.unwrap();
    let mut options = ConnectOptions::new(db.url());
    options.max_connections(1).acquire_timeout(Duration::from_secs(1));
    let connection = sea_orm::Database::connect(options).await.unwrap();
    let busy = connection.begin().await.unwrap();
    let refused = publish(&connection, &Login::ada()).await.unwrap_err();
    assert!(refused.is_retryable(), "{refused:?}");
    assert_eq!(refused.code(), "08001");
    busy.rollback().await.unwrap();
    publish(&connection, &Login::ada()).await.unwrap();
}

async fn a_conflict_may_pass<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    for (raised, retryable, known) in [("40001", true, true), ("40P01", true, false), ("23505", false, true)]
    {
        let raise = format!(
            "create or replace function conflict() returns trigger language plpgsql as $$
             begin raise exception using errcode = '{raised}'; end $$;
             create or replace trigger conflict before insert on pubsub.db_events
                 for each row execute function conflict()"
        );
        db.client.batch_execute(&raise).await.unwrap();
        let refused = refused(&mut driver, &Sms::new("hello")).await;
        let expected = if known || D::TELLS_SQLSTATE { (raised, retryable) } else { ("database", false) };
        assert_eq!((refused.code(), refused.is_retryable()), expected, "{refused:?}");
    }
}

/// A login, with the password that was entered.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("executors.login")]
struct Login {
    user: String,
    #[channel(redact)]
    password: String,
}

impl Login {
    fn ada() -> Self {
        Self { user: "ada".to_owned(), password: "hunter2".to_owned() }
    }
}

async fn an_error_does_not_quote_redacted_fields<D: Driver>() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Login>().start().await.unwrap();
    let mut driver = D::connect(db.url()).await;
    for (check, code, known) in [
        ("payload ->> 'user' <> 'ada'", "23514", true),
        ("(payload ->> 'password')::int > 0", "22P02", D::TELLS_SQLSTATE),
    ] {
        let sql = format!(
            "alter table pubsub.db_events drop constraint if exists strict;
             alter table pubsub.db_events add constraint strict check ({check})"
        );
        db.client.batch_execute(&sql).await.unwrap();
        let refused = refused(&mut driver, &Login::ada()).await;
        let Error::InvalidPayload { source: PayloadError::Refused { sqlstate }, .. } = &refused else {
            panic!("{refused:?}")
        };
        assert_eq!(sqlstate, if known { code } else { "unknown" });
        assert!(!format!("{refused:?} {refused:#?}").contains("hunter2"), "{refused:?}");
    }
}

/// Diesel keeps the SQLSTATE to itself, and shows the name of a constraint.
#[test]
fn our_codes_are_also_the_names_of_constraints() {
    let functions = concat!(env!("CARGO_MANIFEST_DIR"), "/../migrations/functions");
    let files = std::fs::read_dir(functions).unwrap().map(|file| file.unwrap().path());
    let sql: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let raised: Vec<&str> = sql.split("errcode = 'PB").skip(1).collect();
    assert!(raised.len() > 10, "{}", raised.len());
    for raise in raised {
        let code = &raise[..3];
        assert!(raise[3..].starts_with(&format!("', constraint = 'PB{code}'")), "PB{code}: {}", &raise[..60]);
    }
}
