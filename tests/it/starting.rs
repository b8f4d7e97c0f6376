//! `start` refuses invalid settings and names them.

use pubsub::{Backoff, Builder, Channel, Delivery, Error, PubSub, Retention, SubscribeOptions};
use pubsub_tests::{Email, Sms, TestDatabase};
use std::error::Error as _;
use std::time::Duration;

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
    assert_eq!(refused.to_string(), "cannot connect to `127.0.0.1:1`");
    assert!(refused.source().is_some());
    let unreadable = PubSub::builder("postgres://u:secret@host:port/").start().await.unwrap_err();
    assert!(matches!(unreadable, Error::InvalidUrl { .. }), "{unreadable:?}");
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
    assert_eq!(description, "A text message.");
}

/// Defines a channel without the derive, so that nothing checks its settings.
macro_rules! channel {
    ($name:ident, $($setting:item)*) => {
        #[derive(serde::Serialize, serde::Deserialize)]
        struct $name;

        impl Channel for $name {
            const NAME: &'static str = "by-hand";
            $($setting)*
        }
    };
}

channel!(NeverAttempted, const MAX_ATTEMPTS: u32 = 0;);
channel!(VersionZero, const VERSION: u32 = 0;);
channel!(VersionTooHigh, const VERSION: u32 = MOST + 1;);
channel!(Shrinking, const BACKOFF: Backoff = Backoff::exponential(SECOND).factor(0.5););
channel!(KeptTooLong, const RETENTION: Retention = Retention::For(Duration::MAX););

/// The largest count: PostgreSQL stores it as an `integer`.
const MOST: u32 = i32::MAX.unsigned_abs();

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn runtime(set: impl FnOnce(Builder) -> Builder) -> Builder {
    set(PubSub::builder("postgres://nobody@127.0.0.1:1/nothing"))
}

fn options(set: impl FnOnce(SubscribeOptions) -> SubscribeOptions) -> Builder {
    runtime(|b| b.subscribe_fn_with("one", set(SubscribeOptions::new()), ok))
}

fn backoff(backoff: Backoff) -> Builder {
    options(|o| o.backoff(backoff))
}

/// Checks that each runtime is refused with its error.
async fn assert_refused(place: &str, refused: impl IntoIterator<Item = (Builder, &str)>) {
    for (builder, sentence) in refused {
        let refused = builder.start().await.unwrap_err();
        assert!(matches!(refused, Error::InvalidSetting { .. }), "{refused:?}");
        assert_eq!(refused.to_string(), format!("{place}{sentence}"));
    }
}

#[actix::test]
async fn start_refuses_settings_of_a_runtime_that_cannot_be() {
    let refused = [
        (runtime(|b| b.poll_interval(Duration::ZERO)), "`poll_interval` must be from 1ms to 1d, not 0s"),
        (runtime(|b| b.poll_interval(DAY + SECOND)), "`poll_interval` must be from 1ms to 1d, not 86401s"),
        (
            runtime(|b| b.heartbeat_interval(SECOND / 1_000)),
            "`heartbeat_interval` must be from 10ms to 1h, not 1ms",
        ),
        (
            runtime(|b| b.heartbeat_interval(Duration::MAX)),
            "`heartbeat_interval` must be from 10ms to 1h, not 18446744073709552000s",
        ),
        (
            runtime(|b| b.silence_limit(SECOND)),
            "`silence_limit` must be at least twice the heartbeat's interval, which is 1s, not 1s",
        ),
        (runtime(|b| b.silence_limit(36_501 * DAY)), "`silence_limit` must be at most 36500d, not 36501d"),
        (
            runtime(|b| b.report_unread_after(36_501 * DAY)),
            "`report_unread_after` must be at most 36500d, not 36501d",
        ),
        (
            runtime(|b| b.report_transactions_after(36_501 * DAY)),
            "`report_transactions_after` must be at most 36500d, not 36501d",
        ),
        (runtime(|b| b.connections(0)), "`connections` must be a whole number from 1 to 10000, not 0"),
        (
            runtime(|b| b.connections(10_001)),
            "`connections` must be a whole number from 1 to 10000, not 10001",
        ),
    ];
    assert_refused("the runtime: ", refused).await;
}

#[actix::test]
async fn start_refuses_options_that_cannot_be() {
    let refused = [
        (options(|o| o.max_attempts(0)), "`max_attempts` must be a whole number from 1 to 2147483647, not 0"),
        (options(|o| o.max_panics(0)), "`max_panics` must be a whole number from 1 to 2147483647, not 0"),
        (options(|o| o.max_crashes(0)), "`max_crashes` must be a whole number from 1 to 2147483647, not 0"),
        (
            options(|o| o.max_attempts(MOST + 1)),
            "`max_attempts` must be a whole number from 1 to 2147483647, not 2147483648",
        ),
        (
            options(|o| o.max_panics(u32::MAX)),
            "`max_panics` must be a whole number from 1 to 2147483647, not 4294967295",
        ),
        (options(|o| o.timeout(Duration::ZERO)), "`timeout` must be longer than 0s and at most 24h, not 0s"),
        (
            options(|o| o.timeout(DAY + SECOND)),
            "`timeout` must be longer than 0s and at most 24h, not 86401s",
        ),
        (options(|o| o.concurrency(0)), "`concurrency` must be a whole number from 1 to 100000, not 0"),
        (
            options(|o| o.concurrency(usize::MAX)),
            "`concurrency` must be a whole number from 1 to 100000, not 18446744073709551615",
        ),
        (options(|o| o.lanes(0)), "`lanes` must be a whole number from 1 to 64, not 0"),
        (options(|o| o.lanes(65)), "`lanes` must be a whole number from 1 to 64, not 65"),
        (options(|o| o.unread_limit(36_501 * DAY)), "`unread_limit` must be at most 36500d, not 36501d"),
    ];
    assert_refused("subscription `one` of channel `sms`: ", refused).await;
}

#[actix::test]
async fn start_refuses_a_backoff_that_cannot_be() {
    let refused = [
        (
            backoff(Backoff::exponential(SECOND).factor(0.5)),
            "`factor` must be a number from 1 to 1000000, not 0.5",
        ),
        (
            backoff(Backoff::exponential(SECOND).factor(f64::NAN)),
            "`factor` must be a number from 1 to 1000000, not NaN",
        ),
        (backoff(Backoff::exponential(SECOND).jitter(20.0)), "`jitter` must be a number from 0 to 1, not 20"),
        (backoff(Backoff::exponential(SECOND).max(7 * DAY)), "`max` must be at most 24h, not 7d"),
        (backoff(Backoff::exponential(DAY)), "`initial` must be at most `max`, which is 15m, not 1d"),
    ];
    assert_refused("the backoff of subscription `one` of channel `sms`: ", refused).await;
}

#[actix::test]
async fn start_refuses_a_channel_that_cannot_be() {
    let refused = [
        (
            runtime(|b| b.retention::<Sms>(Retention::For(36_501 * DAY))),
            "channel `sms`: `retention` must be at most 36500d, not 36501d",
        ),
        (
            runtime(Builder::declare::<KeptTooLong>),
            "channel `by-hand`: `retention` must be at most 36500d, not 18446744073709552000s",
        ),
        (
            runtime(Builder::declare::<VersionZero>),
            "channel `by-hand`: `version` must be a whole number from 1 to 2147483647, not 0",
        ),
        (
            runtime(Builder::declare::<VersionTooHigh>),
            "channel `by-hand`: `version` must be a whole number from 1 to 2147483647, not 2147483648",
        ),
        (
            runtime(|b| b.subscribe_fn("one", |_: Delivery<NeverAttempted>| async { Ok(()) })),
            "subscription `one` of channel `by-hand`: `max_attempts` must be a whole number from 1 to 2147483647, not 0",
        ),
        (
            runtime(|b| b.subscribe_fn("one", |_: Delivery<Shrinking>| async { Ok(()) })),
            "the backoff of subscription `one` of channel `by-hand`: `factor` must be a number from 1 to 1000000, not 0.5",
        ),
    ];
    assert_refused("", refused).await;
}

#[actix::test]
async fn the_bounds_of_settings_are_allowed() {
    let db = TestDatabase::new().await;
    let options = SubscribeOptions::new()
        .max_attempts(MOST)
        .max_panics(MOST)
        .max_crashes(MOST)
        .timeout(DAY)
        .concurrency(100_000)
        .lanes(64)
        .unread_limit(36_500 * DAY)
        .backoff(Backoff::exponential(DAY).factor(1e6).max(DAY).jitter(1.0));
    let loosest = db.pubsub().retention::<Sms>(Retention::For(36_500 * DAY)).poll_interval(DAY);
    loosest.subscribe_fn_with("one", options, ok).start().await.unwrap();
    let tightest = db.pubsub().retention::<Sms>(Retention::For(Duration::ZERO)).connections(1);
    let tightest =
        tightest.heartbeat_interval(SECOND / 100).silence_limit(SECOND / 50).poll_interval(SECOND / 1_000);
    let options = SubscribeOptions::new().max_attempts(1).max_panics(1).lanes(1).unread_limit(Duration::ZERO);
    tightest.subscribe_fn_with("two", options, ok).start().await.unwrap();
}

#[test]
fn the_derive_and_the_library_have_the_same_limits() {
    let library = include_str!("../../pubsub/src/model/limits.rs");
    assert_eq!(library, include_str!("../../pubsub-derive/src/limits.rs"));
}
