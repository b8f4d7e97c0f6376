//! The sessions of a pooler, which others get next, have nothing of ours.

use super::Pooled;
use pubsub::{Delivery, Failure, PubSub, SubscribeOptions, publish, publish_all};
use pubsub_tests::{Received, Sms, probe};
use std::time::Duration;
use tokio_postgres::Client;

/// The pooler's sessions.
const SESSIONS: usize = 3;

/// The state of a session that another client would notice.
const STATE: &str = "
    select 'setting: ' || name || ' = ' || setting from pg_settings where source = 'session' and name <> 'application_name'
    union all
    select 'prepared: ' || name from pg_prepared_statements
    union all
    select 'listens: ' || l from pg_listening_channels() l
    union all
    select 'lock: ' || objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()
    union all
    select 'temporary: ' || relname from pg_class where relnamespace = pg_my_temp_schema()";

/// Returns what is left in each session. All of them are held at once, so that none is missed.
async fn states(pooled: &Pooled) -> Vec<Vec<String>> {
    let mut clients: Vec<Client> = Vec::new();
    let mut states = Vec::new();
    for _ in 0..SESSIONS {
        let client = pooled.target().connect().await.unwrap();
        client.batch_execute("begin").await.unwrap();
        let rows = client.query_typed(STATE, &[]).await.unwrap();
        states.push(rows.iter().map(|row| row.get(0)).collect());
        clients.push(client);
    }
    for client in clients {
        client.batch_execute("commit").await.unwrap();
    }
    states
}

/// Starts a runtime that uses most of what there is.
async fn work(pooled: &Pooled) -> (PubSub, Received<String>) {
    let (sender, received) = probe();
    let handler = move |sms: Delivery<Sms>| {
        let first = sms.attempt() == 1;
        sender.send(sms.msg.clone());
        async move { if first { Err(Failure::retry_after(Duration::ZERO, "again")) } else { Ok(()) } }
    };
    let (other, _) = probe::<String>();
    let ordered = move |sms: Delivery<Sms>| {
        other.send(sms.msg.clone());
        async { Ok(()) }
    };
    let pubsub = pooled
        .pubsub()
        .subscribe_fn("failing", handler)
        .subscribe_fn_with("ordered", SubscribeOptions::new().ordered(), ordered)
        .start()
        .await
        .unwrap();
    (pubsub, received)
}

#[actix::test]
async fn nothing_of_ours_is_left_in_the_sessions_of_others() {
    let settings = format!("default_pool_size = {SESSIONS}");
    let Some(pooled) = Pooled::new("transaction", &settings).await else { return };
    let before = states(&pooled).await;
    let (pubsub, mut received) = work(&pooled).await;
    let sent: Vec<Sms> = (0..200).map(|n| Sms::new(n.to_string())).collect();
    publish_all(&pubsub, &sent).await.unwrap();
    for n in 0..20 {
        publish(&pubsub, &Sms::new(format!("one {n}"))).await.unwrap();
    }
    received.take(440).await;
    pubsub.subscription::<Sms>("failing").lag().await.unwrap();
    // While the runtime works, and after it.
    assert_eq!(states(&pooled).await, before);
    pooled.db.until_settled().await;
    assert!(pubsub.drain(Duration::from_secs(30)).await);
    assert_eq!(states(&pooled).await, before);

    // A refused start leaves nothing either.
    PubSub::builder(pooled.url()).start().await.unwrap_err();
    pubsub::migrate(pooled.url()).await.unwrap_err();
    assert_eq!(states(&pooled).await, before);

    // The session's own note that the log is where it was is true for everybody.
    let note = "select coalesce(current_setting('pubsub.recognized', true), '')";
    let client = pooled.target().connect().await.unwrap();
    let note: String = client.query_typed_one(note, &[]).await.unwrap().get(0);
    assert!(note.is_empty() || note.parse::<u32>().is_ok(), "{note}");
}
