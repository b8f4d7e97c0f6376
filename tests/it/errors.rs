//! Programs can distinguish errors by their code.

use pubsub::subscription::Reason;
use pubsub::{Error, EventId, PubSub, Subscription, publish};
use pubsub_tests::{Email, Sms, TestDatabase};

#[actix::test]
async fn an_error_has_a_stable_code_and_says_whether_it_may_pass() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().declare::<Sms>().start().await.unwrap();
    let undeclared = publish(&pubsub, &Email { receiver: "a@example.com".into() }).await.unwrap_err();
    assert_eq!((undeclared.code(), undeclared.is_retryable()), ("PB001", false));

    let unreachable = PubSub::builder("postgres://nobody@127.0.0.1:1/nothing").start().await.unwrap_err();
    assert_eq!((unreachable.code(), unreachable.is_retryable()), ("connect", true), "{unreachable:?}");
    let absent = db.url().replace("pubsub_test", "no_such_database");
    let absent = pubsub::migrate(&absent).await.unwrap_err();
    assert_eq!((absent.code(), absent.is_retryable()), ("3D000", false), "{absent:?}");

    for (raised, retryable) in [("40P01", true), ("40001", true), ("53300", true), ("23505", false)] {
        db.client.batch_execute(&format!("set pubsub_tests.raise = '{raised}'")).await.unwrap();
        db.client
            .batch_execute(
                "create or replace function pubsub_test_raise() returns trigger language plpgsql as $$
                 begin raise exception using errcode = current_setting('pubsub_tests.raise'); end $$;
                 create or replace trigger raise before insert on pubsub.db_events
                     for each row execute function pubsub_test_raise()",
            )
            .await
            .unwrap();
        let refused = publish(&db.client, &Sms::new("hello")).await.unwrap_err();
        assert_eq!((refused.code(), refused.is_retryable()), (raised, retryable), "{refused:?}");
    }

    db.client.batch_execute("set statement_timeout = '1ms'").await.unwrap();
    let cancelled = db.client.batch_execute("select pg_sleep(1)").await.unwrap_err();
    let sqlstate = cancelled.code().map(|state| state.code().to_owned());
    let cancelled = Error::Database { doing: "sleep", sqlstate, source: cancelled.into() };
    assert_eq!((cancelled.code(), cancelled.is_retryable()), ("57014", true));
}

#[actix::test]
async fn every_reason_of_the_database_is_known() {
    let db = TestDatabase::new().await;
    let sql = "select (regexp_matches(pg_get_constraintdef(oid), '''(\\w+)''', 'g'))[1]
                 from pg_constraint where conname = 'dead_letters_reason_check'";
    let words: Vec<String> = db.client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(words.len() >= 5, "{words:?}");
    let _pubsub =
        db.pubsub().subscribe_fn("one", |_: pubsub::Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    for (id, word) in (1_i64..).zip(&words) {
        db.client
            .execute(
                "insert into pubsub.dead_letters (subscription, event_id, channel, payload, version, published_at,
                                                  attempt, panics, crashes, reason)
                 select s.id, $1, 'sms', '{}', 1, now(), 1, 0, 0, $2 from pubsub.subscriptions s",
                &[&id, word],
            )
            .await
            .unwrap();
    }
    let one = Subscription::<Sms>::connect(db.url(), "one").await.unwrap();
    let reasons = one.dead_letters(None, 100).await.unwrap().into_iter().map(|letter| letter.reason);
    for (reason, word) in reasons.zip(words) {
        assert_ne!(reason, Reason::Other, "{word}");
        assert_eq!(reason.as_str(), word);
    }
}

#[test]
fn an_event_id_is_read_back_from_its_text_and_its_json() {
    let id = EventId(17);
    assert_eq!(id.to_string().parse::<EventId>().unwrap(), id);
    assert_eq!(serde_json::to_string(&id).unwrap(), "17");
    assert_eq!(serde_json::from_str::<EventId>("17").unwrap(), id);
    for text in ["", "x", "1.5", "-1", "+5", "-", " 1", "\u{663}", "9223372036854775808"] {
        let refused = text.parse::<EventId>().unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("`{text}` is not an event id: expected a whole number without a sign")
        );
        assert_eq!(refused.code(), "invalid_event_id");
    }
}

#[actix::test]
async fn an_error_that_main_returns_is_one_readable_line() {
    let db = TestDatabase::new().await;
    let absent = db.url().replace("pubsub_test", "no_such_database");
    let absent = pubsub::migrate(&absent).await.unwrap_err();
    let shown = format!("{absent:?}");
    assert!(shown.starts_with("cannot connect to `127.0.0.1:"), "{shown}");
    assert!(shown.ends_with("does not exist (SQLSTATE 3D000)"), "{shown}");
    assert!(!shown.contains(['{', '\n']), "{shown}");
    assert!(format!("{absent:#?}").contains("code: \"3D000\""), "{absent:#?}");
}
