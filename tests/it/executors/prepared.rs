//! Statements for any other driver, here run by two drivers that know nothing of this crate: one asks the server for the types of
//! the parameters, and the other one says them.

use super::{Note, TEXTS};
use pubsub::prepared::{Prepared, Value, prepared_all, prepared_settle_in, prepared_with};
use pubsub::{Delivery, PublishOptions, prepared, publish};
use pubsub_tests::{Sms, TestDatabase, connect, probe};
use sqlx::Connection as _;
use tokio_postgres::GenericClient;
use tokio_postgres::types::ToSql;

/// Converts a value into one of `tokio-postgres`.
fn bind(value: &Value) -> &(dyn ToSql + Sync) {
    match value {
        Value::Text(text) => text,
        Value::Int4(number) => number,
        Value::Int8(number) => number,
    }
}

/// Runs a statement with `tokio-postgres`, which asks.
async fn run(client: &impl GenericClient, statement: &Prepared) -> tokio_postgres::Row {
    try_run(client, statement).await.unwrap()
}

async fn try_run(
    client: &impl GenericClient,
    statement: &Prepared,
) -> Result<tokio_postgres::Row, tokio_postgres::Error> {
    let values: Vec<_> = statement.parameters().iter().map(bind).collect();
    client.query_one(statement.sql(), &values).await
}

/// Runs a statement with sqlx, which says.
async fn run_sqlx(connection: &mut sqlx::PgConnection, statement: &Prepared) -> sqlx::postgres::PgRow {
    let mut query = sqlx::query(statement.sql());
    for value in statement.parameters() {
        query = match value {
            Value::Text(text) => query.bind(text),
            Value::Int4(number) => query.bind(number),
            Value::Int8(number) => query.bind(number),
        };
    }
    query.fetch_one(connection).await.unwrap()
}

#[actix::test]
async fn a_prepared_statement_returns_what_publish_does() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Note>().start().await.unwrap();
    let plain = prepared(&Note::about("x")).unwrap();
    let options = PublishOptions::new().key("key").header("tenant", "a").dedupe_key("once");
    let once = prepared_with(&Note::about("y"), &options).unwrap();
    let mut answers = Vec::new();
    for insert in [&plain, &once, &once] {
        let row = run(&db.client, insert).await;
        answers.push((row.get::<_, i64>("id"), row.get::<_, bool>("is_duplicate")));
    }
    let [(first, false), (second, false), (again, true)] = answers[..] else { panic!("{answers:?}") };
    assert!(first < second && second == again);
    let stored = "select count(*) from pubsub.db_events
                   where key = 'key' and headers = '{\"tenant\": \"a\"}' and payload ->> 'about' = 'y'";
    assert_eq!(db.count(stored).await, 1);
    assert!(!format!("{once:?}").contains("about"), "the payload may be secret");
}

/// Notes of every kind: with a key, with a deduplication key, with both or with neither.
fn notes() -> Vec<Note> {
    let mut notes = Vec::new();
    for text in TEXTS {
        notes.extend([Note::about(text), Note::once(text)]);
        notes.push(Note { about: Some(text.to_owned()), once: Some(format!("both {text}")) });
        notes.push(Note { about: None, once: None });
    }
    notes
}

const STORED: &str =
    "select coalesce(key, '(none)'), payload::text, version, fingerprint from pubsub.db_events order by id";

type Stored = (String, String, i32, Option<i64>);

async fn stored(db: &TestDatabase) -> Vec<Stored> {
    let rows = db.client.query(STORED, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[actix::test]
async fn many_prepared_events_are_those_of_publish_all() {
    let (theirs, ours) = (TestDatabase::new().await, TestDatabase::new().await);
    let other = TestDatabase::new().await;
    for db in [&theirs, &ours, &other] {
        db.pubsub().declare::<Note>().start().await.unwrap();
    }
    let notes = notes();
    assert_eq!(pubsub::publish_all(&theirs.client, &notes).await.unwrap(), notes.len() as u64);
    let expected = stored(&theirs).await;
    let mut sqlx = <sqlx::PgConnection as sqlx::Connection>::connect(other.url()).await.unwrap();
    for fresh in [notes.len() as i64, TEXTS.len() as i64 * 2] {
        let [insert] = &prepared_all(&notes).unwrap()[..] else { panic!("one statement") };
        assert_eq!(run(&ours.client, insert).await.get::<_, i64>("published"), fresh);
        let row = run_sqlx(&mut sqlx, insert).await;
        assert_eq!(sqlx::Row::get::<i64, _>(&row, "published"), fresh);
        assert!(!format!("{insert:?}").contains("about"), "the payload may be secret");
        // The second time, those without a deduplication key are published again.
        if fresh == notes.len() as i64 {
            assert_eq!(stored(&ours).await, expected);
            assert_eq!(stored(&other).await, expected);
        }
    }
    sqlx.close().await.unwrap();
}

#[actix::test]
async fn many_prepared_events_are_split_as_publish_all_splits_them() {
    let db = TestDatabase::new().await;
    let _pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    assert!(prepared_all([] as [&Sms; 0]).unwrap().is_empty());
    let many: Vec<Sms> = (0..2_500).map(|n| Sms::new(n.to_string())).collect();
    let mut counts = Vec::new();
    for insert in prepared_all(&many).unwrap() {
        counts.push(run(&db.client, &insert).await.get::<_, i64>("published"));
    }
    assert_eq!(counts, [1_000, 1_000, 500]);
    let in_order = "select count(*) from (
                        select payload ->> 'msg' as msg, row_number() over (order by id) - 1 as n from pubsub.db_events
                    ) e where msg = n::text";
    assert_eq!(db.count(in_order).await, 2_500);
    let large: Vec<Sms> = (0..20).map(|_| Sms::new("\"".repeat(120 * 1024))).collect();
    let statements = prepared_all(&large).unwrap();
    assert_eq!(statements.len(), 2, "4 MiB each");
    for insert in statements {
        run(&db.client, &insert).await;
    }
    assert_eq!(
        db.count("select count(*) from pubsub.db_events where length(payload ->> 'msg') = 122880").await,
        20
    );
}

#[actix::test]
async fn a_delivery_is_settled_by_a_prepared_statement() {
    let db = TestDatabase::new().await;
    let (sender, mut received) = probe();
    let url = db.url().to_owned();
    let handle = move |sms: Delivery<Sms>| {
        let (url, sender) = (url.clone(), sender.clone());
        async move {
            let mut client = connect(&url).await;
            let transaction = client.transaction().await?;
            let settle = prepared_settle_in(&sms);
            assert!(run(&transaction, &settle).await.get::<_, bool>("is_settled"));
            match sms.attempt() {
                // The answer `Ok` acknowledges nothing that was rolled back.
                1 => transaction.rollback().await?,
                2 => {
                    let mut sqlx = <sqlx::PgConnection as sqlx::Connection>::connect(&url).await?;
                    transaction.rollback().await?;
                    let mut transaction = sqlx.begin().await?;
                    let row = run_sqlx(&mut transaction, &settle).await;
                    assert!(sqlx::Row::get::<bool, _>(&row, "is_settled"));
                    transaction.commit().await?;
                    let again = try_run(&client, &settle).await.unwrap_err();
                    assert_eq!(again.code().unwrap().code(), "PB010");
                }
                _ => panic!("it is settled"),
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
