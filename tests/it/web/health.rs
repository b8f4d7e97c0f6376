//! `/live` and `/ready`.

use super::http::{Request, get, serve, until, until_status};
use actix::{Actor, Context, Handler};
use pubsub::{Delivery, Handled, PubSub, SubscribeOptions, publish, publish_all};
use pubsub_tests::{DEADLINE, Proxy, Sms, TestDatabase, probe, sending};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

fn health_of(pubsub: &PubSub) -> SocketAddr {
    let pubsub = pubsub.clone();
    serve(move || pubsub::web::health(&pubsub))
}

/// The checks of a report that fail.
fn failing(report: &Value) -> Vec<&str> {
    let checks = report.as_object().unwrap().iter();
    checks.filter(|(_, check)| check["ok"] == false).map(|(name, _)| &**name).collect()
}

#[actix::test]
async fn a_process_is_alive_and_ready_until_it_drains() {
    let db = TestDatabase::new().await;
    let (pubsub, _received) = db.receive("one").await;
    let address = health_of(&pubsub);
    assert_eq!(until_status(address, "/live", 200).await, json!({"live": true}));
    let report = until_status(address, "/ready", 200).await;
    let (beat, rest) = (&report["heartbeat"], &report);
    assert!(beat["ok"] == true && beat["age_ms"].is_u64(), "{report}");
    assert_eq!(
        (&rest["ready"], &rest["schema"], &rest["listener"], &rest["quarantine"], &rest["unread"]["ok"]),
        (
            &json!(true),
            &json!({"ok": true}),
            &json!({"ok": true}),
            &json!({"ok": true, "subscriptions": []}),
            &json!(true)
        )
    );
    let head = Request::send_with("HEAD", address, "/live").await;
    assert_eq!(head.response().await, Some((200, String::new())));

    assert!(pubsub.drain(DEADLINE).await);
    let report = until_status(address, "/ready", 503).await;
    assert_eq!(report["ready"], false);
    assert!(failing(&report).contains(&"listener"), "{report}");
    until_status(address, "/live", 503).await;
}

#[actix::test]
async fn a_process_without_its_database_is_alive_and_not_ready() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.url()).await;
    let pubsub = PubSub::builder(proxy.url(db.url()))
        .heartbeat_interval(Duration::from_millis(100))
        .silence_limit(Duration::from_secs(1))
        .subscribe_fn("one", |_: Delivery<Sms>| async { Ok(()) })
        .start()
        .await
        .unwrap();
    let address = health_of(&pubsub);
    until_status(address, "/ready", 200).await;
    proxy.cut();
    let all = ["heartbeat", "listener", "schema", "unread"];
    let report =
        until(address, "/ready", "all that fail", |status, report| status == 503 && failing(report) == all);
    let report = report.await;
    let text = report.to_string();
    assert!(!text.contains("127.0.0.1") && !text.contains("postgres"), "it names no server: {text}");
    until_status(address, "/live", 200).await;
    proxy.mend();
    until_status(address, "/ready", 200).await;
}

#[actix::test]
async fn a_process_whose_schema_is_gone_is_not_ready() {
    let db = TestDatabase::new().await;
    let one = |_: Delivery<Sms>| async { Ok(()) };
    let pubsub = db.pubsub().subscribe_fn("one", one).start().await.unwrap();
    let address = health_of(&pubsub);
    until_status(address, "/ready", 200).await;
    db.client.batch_execute("alter schema pubsub rename to elsewhere").await.unwrap();
    let gone = until(address, "/ready", "a schema that is gone", |_, report| {
        report["schema"]["error"] == "schema_missing"
    });
    assert_eq!(gone.await["ready"], false);
    until_status(address, "/live", 200).await;
    db.client.batch_execute("alter schema elsewhere rename to pubsub").await.unwrap();
    until_status(address, "/ready", 200).await;
}

#[actix::test]
async fn a_process_whose_listener_is_gone_is_not_ready() {
    let db = TestDatabase::new().await;
    // The sessions of the heartbeat and of the listener go through it, and all others past it.
    let proxy = Proxy::start(db.url()).await;
    let pubsub = db
        .pubsub()
        .direct(proxy.url(db.url()))
        .subscribe_fn("one", |_: Delivery<Sms>| async { Ok(()) })
        .start()
        .await
        .unwrap();
    let address = health_of(&pubsub);
    until_status(address, "/ready", 200).await;
    proxy.cut();
    let report = until(address, "/ready", "a listener that is gone", |_, report| {
        report["listener"]["ok"] == false && report["schema"]["ok"] == true
    });
    assert_eq!(report.await["ready"], false);
    proxy.mend();
    until_status(address, "/ready", 200).await;
}

/// Panics when it is made, while it is told so.
struct Fragile;

impl Actor for Fragile {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Fragile {
    type Result = Handled;

    fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Handled {
        Ok(())
    }
}

#[actix::test]
async fn a_process_with_a_quarantined_handler_is_not_ready() {
    let db = TestDatabase::new().await;
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = broken.clone();
    let factory = move || {
        assert!(!is_broken.load(Ordering::Relaxed), "it cannot be made");
        Fragile
    };
    let pubsub = db.pubsub().subscribe::<Sms, _>("fragile", factory).start().await.unwrap();
    let address = health_of(&pubsub);
    let report =
        until(address, "/ready", "a quarantine", |_, report| failing(report) == ["quarantine"]).await;
    assert_eq!(report["ready"], false);
    let subscriptions = &report["quarantine"]["subscriptions"];
    assert_eq!(*subscriptions, json!([{"channel": "sms", "subscription": "fragile"}]));
    until_status(address, "/live", 200).await;
    broken.store(false, Ordering::Relaxed);
    until_status(address, "/ready", 200).await;
}

#[actix::test]
async fn a_process_whose_events_lie_unread_is_not_ready() {
    let db = TestDatabase::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let handle = move |_: Delivery<Sms>| {
        let gate = gate.clone();
        async move {
            gate.acquire().await?.forget();
            Ok(())
        }
    };
    let options = SubscribeOptions::new().concurrency(1);
    let pubsub = db.pubsub().subscribe_fn_with("slow", options, handle).start().await.unwrap();
    // Nobody runs this one, so it is none of this process's.
    db.client.batch_execute("select pubsub.subscribe('sms', 'elsewhere')").await.unwrap();
    let judging_by = |limit| {
        let pubsub = pubsub.clone();
        serve(move || pubsub::web::health(&pubsub).oldest_unread(limit))
    };
    let (strict, lax) = (judging_by(Duration::from_millis(1)), judging_by(Duration::MAX));
    until_status(strict, "/ready", 200).await;

    // More than a process claims ahead.
    let events: Vec<Sms> = (0..5_000).map(|n| Sms::new(n.to_string())).collect();
    publish_all(&db.client, &events).await.unwrap();
    let report = until(strict, "/ready", "unread events", |_, report| failing(report) == ["unread"]).await;
    assert_eq!(report["ready"], false);
    let unread = report["unread"]["subscriptions"].as_array().unwrap();
    assert_eq!(unread.len(), 1, "{report}");
    let unread = &unread[0];
    assert_eq!((&unread["channel"], &unread["subscription"]), (&json!("sms"), &json!("slow")));
    assert!(unread["unread_for_ms"].as_u64().unwrap() >= 1, "{report}");
    // It was told not to judge by it.
    until_status(lax, "/ready", 200).await;

    opened.add_permits(events.len());
    until_status(strict, "/ready", 200).await;
}

#[actix::test]
async fn without_a_limit_nobody_asks_for_unread_events() {
    let db = TestDatabase::new().await;
    let broken = "create or replace function pubsub.unread_subscriptions(older_than interval)
         returns table (
             subscription integer, channel text, name text, event_id bigint, unread_for interval, unread_limit interval
         )
         language plpgsql volatile as $$ begin raise exception 'it does not answer'; end $$";
    db.client.batch_execute(broken).await.unwrap();
    let pubsub = db.pubsub().subscribe_fn("one", |_: Delivery<Sms>| async { Ok(()) }).start().await.unwrap();
    let judging = health_of(&pubsub);
    let lax = serve(move || pubsub::web::health(&pubsub).oldest_unread(Duration::MAX));
    let report = until(judging, "/ready", "an error", |_, report| failing(report) == ["unread"]).await;
    assert!(report["unread"]["error"].is_string(), "{report}");
    let report = until_status(lax, "/ready", 200).await;
    assert_eq!(report["unread"], json!({"ok": true, "subscriptions": []}));
}

#[actix::test]
async fn a_flood_of_probes_asks_the_database_once_a_second() {
    let db = TestDatabase::new().await;
    // Counts the questions. The janitor asks for older ones.
    let counting = "create sequence public.asked; create sequence public.other;
         create or replace function pubsub.unread_subscriptions(older_than interval)
         returns table (
             subscription integer, channel text, name text, event_id bigint, unread_for interval, unread_limit interval
         )
         language sql volatile security definer as $$
             select null::integer, null::text, null::text, null::bigint, null::interval, null::interval
              where nextval(case when older_than = '0' then 'public.asked' else 'public.other' end) < 0
         $$";
    db.client.batch_execute(counting).await.unwrap();
    let (sender, _received) = probe();
    let handle = sending(sender, |sms: Delivery<Sms>| sms.attempt());
    let pubsub = db.pubsub().subscribe_fn("one", handle).start().await.unwrap();
    // Two servers stand for two workers: the bound is that of the process.
    let addresses = [health_of(&pubsub), health_of(&pubsub)];
    let began = Instant::now();
    for _ in 0..20 {
        let probes = (0..40).map(|n| get(addresses[n % 2], "/ready"));
        futures_util::future::join_all(probes).await;
    }
    publish(&pubsub, &Sms::new("hello")).await.unwrap();
    let asked = db.count("select case when is_called then last_value else 0 end from public.asked").await;
    let most = began.elapsed().as_secs().cast_signed() + 1;
    assert!((1..=most).contains(&asked), "{asked} questions within {most} s");
}
