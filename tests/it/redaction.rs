//! The values of redacted fields appear in no log, in no `Debug` output and in no stored error text.

use pubsub::{Channel, Delivery, Error, PubSub, publish};
use pubsub_tests::{ChildProcess, TestDatabase, in_child_process};
use serde::{Deserialize, Serialize};

const SECRET: &str = "hunter2";

/// The password of the database's URL. The test's server does not ask for it.
const PASSWORD: &str = "sesame";

/// A login, with the password that was entered.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("login", max_attempts = 1)]
struct Login {
    user: String,
    #[channel(redact)]
    password: String,
}

/// The same without redaction, to show that the values would appear.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("open", max_attempts = 1)]
struct Open {
    user: String,
    password: String,
}

fn login() -> Login {
    Login { user: "ada".to_owned(), password: SECRET.to_owned() }
}

/// Reports the log lines of the driver.
struct Driver<F>(F);

impl<F: Fn(&str) + Send + Sync> log::Log for Driver<F> {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        (self.0)(&format!("DRIVER {}", record.args().to_string().replace('\n', " ")));
    }

    fn flush(&self) {}
}

/// Logs everything at every level. Its handlers fail.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_logs_deliveries() {
    let Some((url, report)) = in_child_process() else { return };
    crate::tracing_fields::log_to(report.clone());
    log::set_logger(Box::leak(Box::new(Driver(report)))).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let pubsub = PubSub::builder(url)
        .subscribe_fn("one", |login: Delivery<Login>| async move {
            tracing::warn!(?login, "a log line of the handler");
            Err("no such user".into())
        })
        .subscribe_fn("one", |open: Delivery<Open>| async move {
            tracing::warn!(?open, "a log line of the handler");
            Ok(())
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &login()).await.unwrap();
    let Login { user, password } = login();
    pubsub::publish(&pubsub, &Open { user, password }).await.unwrap();
    tracing::info!("ready");
    std::future::pending::<()>().await;
}

/// Payloads for which serde's error quotes a value of the wrong type.
const UNREADABLE: [&str; 3] = [
    r#"{"user": {"hunter2": 1}, "password": "hunter2"}"#,
    r#"{"user": "ada", "password": ["hunter2"]}"#,
    r#""hunter2""#,
];

/// Publishes the unreadable payloads, and returns the child's log once all its deliveries have ended.
async fn log_of_deliveries(db: &TestDatabase, child: &ChildProcess) -> Vec<String> {
    let mut log = vec![child.next().await];
    while !log.last().unwrap().contains("ready") {
        log.push(child.next().await);
    }
    for channel in ["login", "open"] {
        for payload in UNREADABLE {
            let sql = "insert into pubsub.db_events (channel, payload) values ($1, $2::text::jsonb)";
            db.client.execute(sql, &[&channel, &payload]).await.unwrap();
        }
    }
    // On each channel three events cannot be decoded. One login fails, and one open login succeeds.
    let of = |log: &[String], channel: &str, what: &str| {
        log.iter()
            .filter(|line| line.contains(&format!("channel=\"{channel}\"")) && line.contains(what))
            .count()
    };
    while of(&log, "login", "given up") < 4
        || of(&log, "open", "given up") < 3
        || of(&log, "open", "handled") < 1
    {
        log.push(child.next().await);
    }
    log
}

#[actix::test]
async fn redacted_values_are_in_no_log_and_no_stored_error() {
    let db = TestDatabase::new().await;
    let url = db.url().replacen('@', &format!(":{PASSWORD}@"), 1);
    let child = ChildProcess::start("redaction::child_logs_deliveries", &url);
    let log = log_of_deliveries(&db, &child).await;
    assert!(!log.iter().any(|line| line.contains(PASSWORD)), "at no level is the password logged: {log:?}");
    let of_channel = |channel: &str| {
        let named = format!("channel=\"{channel}\"");
        log.iter()
            .filter(move |line| line.contains(&named))
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert!(!of_channel("login").contains(SECRET), "{}", of_channel("login"));
    assert!(
        of_channel("login").contains("Login { user: \"ada\", password: <redacted> }"),
        "{}",
        of_channel("login")
    );
    let shown_by_its_handler = of_channel("open").matches(SECRET).count();
    assert_eq!(shown_by_its_handler, 1, "only the handler itself logs the payload: {log:?}");

    let with_secret = |channel: &str| {
        let named = format!("\"{channel}\"");
        log.iter()
            .filter(|line| line.contains("DRIVER") && line.contains(&named) && line.contains(SECRET))
            .count()
    };
    assert_eq!((with_secret("login"), with_secret("open")), (0, 0), "the driver logs parameters");

    db.until_count("select count(*) from pubsub.dead_letters", 7).await;
    let errors = "select coalesce(string_agg(error, '; ' order by event_id), '')
                    from pubsub.observed_dead_letters where channel = $1";
    let errors = |channel: &'static str| {
        let client = &db.client;
        async move { client.query_one(errors, &[&channel]).await.unwrap().get::<_, String>(0) }
    };
    let said = errors("login").await;
    assert!(!said.contains(SECRET) && said.contains("not readable at line 1 column"), "{said}");
    assert!(said.contains("expected a string; what else serde says may quote the payload"), "{said}");
    assert!(said.contains("no such user"), "a handler's own error is stored: {said}");
    let said = errors("open").await;
    assert!(!said.contains(SECRET) && said.contains("expected a string"), "redacted or not: {said}");

    let pubsub = PubSub::builder(&url).start().await.unwrap();
    let subscription = pubsub.subscription::<Login>("one");
    let apart = pubsub::Subscription::<Login>::connect(&url, "one").await.unwrap();
    let shown = format!("{:?} {pubsub:?} {subscription:?} {apart:?}", PubSub::builder(&url));
    assert!(!shown.contains(PASSWORD), "{shown}");
    let letters = pubsub.subscription::<Login>("one").dead_letters(None, 10).await.unwrap();
    assert!(letters[0].payload.contains(SECRET), "the payload itself has the value");
    assert!(!format!("{letters:?}").contains(SECRET), "{letters:?}");
    let letters = pubsub.subscription::<Open>("one").dead_letters(None, 10).await.unwrap();
    assert!(format!("{letters:?}").contains(SECRET), "{letters:?}");
}

#[actix::test]
async fn database_errors_do_not_quote_redacted_fields() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().declare::<Login>().declare::<Open>().start().await.unwrap();
    let strict = "alter table pubsub.db_events add constraint strict check (payload ->> 'user' <> 'ada')";
    db.client.batch_execute(strict).await.unwrap();
    let said = |error: &Error| {
        let chain = std::iter::successors(std::error::Error::source(error), |error| error.source());
        format!("{error} {error:?} {:?}", chain.map(ToString::to_string).collect::<Vec<_>>())
    };
    for refused in [
        publish(&db.client, &login()).await.unwrap_err(),
        pubsub::publish(&pubsub, &login()).await.unwrap_err(),
        pubsub::publish_all(&db.client, &[login()]).await.unwrap_err(),
    ] {
        assert!(matches!(refused, Error::InvalidPayload { channel: "login", .. }), "{refused:?}");
        assert!(said(&refused).contains("SQLSTATE 23514"), "{}", said(&refused));
        assert!(!said(&refused).contains(SECRET), "{}", said(&refused));
    }
    let Login { user, password } = login();
    let refused = publish(&db.client, &Open { user, password }).await.unwrap_err();
    assert!(said(&refused).contains(SECRET), "otherwise this test would notice nothing: {}", said(&refused));
}
