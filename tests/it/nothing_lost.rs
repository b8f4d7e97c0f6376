//! NOTIFY is only a bell: a process that misses it loses no event.

use pubsub::testing::{Mode, Server};
use pubsub::{Delivery, PubSub};
use pubsub_tests::{DEADLINE, Proxy, Received, Sms, TestDatabase, connect, probe, sending};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

async fn start(url: &str) -> (PubSub, Received<String>) {
    let (sender, received) = probe();
    let pubsub = PubSub::builder(url)
        .subscribe_fn("one", sending(sender, |sms: Delivery<Sms>| sms.msg.clone()))
        .start()
        .await
        .unwrap();
    (pubsub, received)
}

#[actix::test]
async fn an_event_published_while_no_process_runs_is_handled_later() {
    let db = TestDatabase::new().await;
    let (pubsub, _) = start(db.url()).await;
    assert!(pubsub.drain(Duration::from_secs(10)).await);
    assert_eq!(db.count("select count(*) from pubsub.processes").await, 0);

    pubsub::publish(&db.client, &Sms::new("no process runs")).await.unwrap();

    let (_pubsub, mut received) = start(db.url()).await;
    assert_eq!(received.next().await, "no process runs");
}

#[actix::test]
async fn events_published_while_the_listener_is_cut_are_handled() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = start(db.url()).await;
    let mut expected = BTreeSet::new();
    for round in 0..20 {
        let msg = format!("round {round}");
        db
            .client
            .execute("select pg_terminate_backend(pid) from pg_stat_activity where query ~ 'listen|notify' and pid <> pg_backend_pid() and datname = current_database()", &[])
            .await
            .unwrap();
        pubsub::publish(&pubsub, &Sms::new(&msg)).await.unwrap();
        expected.insert(msg);
    }
    assert_eq!(received.take(20).await.into_iter().collect::<BTreeSet<_>>(), expected);
    // It listens again.
    let listeners = "select count(*) from pg_stat_activity where query ~* 'listen' and datname = current_database() and pid <> pg_backend_pid()";
    db.until_count(listeners, 1).await;
}

#[actix::test]
async fn the_poll_finds_an_event_whose_bell_was_silent() {
    let db = TestDatabase::new().await;
    let (_pubsub, mut received) = start(db.url()).await;
    db.until_count("select count(*) from pubsub.waiters", 1).await;
    db.client.batch_execute("set pubsub.bell = off").await.unwrap();
    pubsub::publish(&db.client, &Sms::new("silent")).await.unwrap();
    assert_eq!(received.next().await, "silent");
}

#[actix::test]
async fn a_forged_bell_does_no_harm() {
    let db = TestDatabase::new().await;
    let (pubsub, mut received) = start(db.url()).await;
    let forged = "select pg_notify('pubsub', p) from unnest(array['sms', 'no such channel', '', '?', '?12', repeat('x', 7000), E'\\n''\"']) p";
    for _ in 0..50 {
        db.client.batch_execute(forged).await.unwrap();
    }
    pubsub::publish(&pubsub, &Sms::new("real")).await.unwrap();
    assert_eq!(received.next().await, "real");
    db.until_settled().await;
    assert!(received.rest().is_empty());
}

#[actix::test]
async fn an_older_transaction_wakes_a_sleeping_subscription() {
    let mut db = TestDatabase::new().await;
    let (_pubsub, mut received) = start(db.url()).await;
    db.until_count("select count(*) from pubsub.waiters", 1).await;
    for round in 0..10 {
        let transaction = db.client.transaction().await.unwrap();
        pubsub::publish(&transaction, &Sms::new(format!("long {round}"))).await.unwrap();
        // Another publisher wakes the subscription, which then goes to sleep again while this transaction is still open.
        let other = connect(db.database.url()).await;
        pubsub::publish(&other, &Sms::new("short")).await.unwrap();
        assert_eq!(received.next().await, "short");
        transaction.commit().await.unwrap();
        assert_eq!(received.next().await, format!("long {round}"));
    }
}

#[actix::test]
async fn nothing_is_lost_while_the_server_restarts() {
    let mut server = Server::start().unwrap();
    let url = server.url("postgres");
    pubsub::migrate(&url).await.unwrap();
    let (pubsub, mut received) = start(&url).await;
    let (mut committed, mut unknown) = (BTreeSet::new(), BTreeSet::new());
    for (round, mode) in [Mode::Immediate, Mode::Fast, Mode::Immediate].into_iter().enumerate() {
        for n in 0..50 {
            let msg = format!("{round}.{n}");
            match pubsub::publish(&pubsub, &Sms::new(&msg)).await {
                Ok(_) => committed.insert(msg),
                Err(_) => unknown.insert(msg),
            };
        }
        server.restart(mode).unwrap();
        // Until a publish succeeds again.
        let until = Instant::now() + DEADLINE;
        let msg = format!("{round}.after");
        while let Err(error) = pubsub::publish(&pubsub, &Sms::new(&msg)).await {
            unknown.insert(msg.clone());
            assert!(Instant::now() < until, "still {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        committed.insert(msg);
    }
    let mut handled = BTreeSet::new();
    while !committed.is_subset(&handled) {
        handled.insert(received.next().await);
    }
    let attempted = &committed | &unknown;
    assert!(handled.is_subset(&attempted), "only published events are handled");
}

/// Selects the ports by which the server knows the listeners of this database, the newest first.
const LISTENERS: &str = "
    select client_port::bigint
      from pg_stat_activity
     where datname = current_database() and query ~* '^(listen|notify)' and pid <> pg_backend_pid()
     order by backend_start desc";

/// Waits until a process listens, and returns the port of its connection. The first claim does not wait for the listener, so
/// an event may be handled before anybody listens.
async fn listener(db: &TestDatabase) -> u16 {
    db.until_count(&format!("select count(*) from ({LISTENERS}) l"), 1).await;
    newest_listener(db).await
}

async fn newest_listener(db: &TestDatabase) -> u16 {
    u16::try_from(db.count(&format!("{LISTENERS} limit 1")).await).unwrap()
}

#[actix::test]
async fn a_silent_listener_is_replaced_within_fifteen_seconds() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.url()).await;
    let (pubsub, mut received) = start(&proxy.url(db.url())).await;
    let silent = listener(&db).await;
    // The answer to LISTEN passes the proxy before this event does.
    pubsub::publish(&pubsub, &Sms::new("before")).await.unwrap();
    assert_eq!(received.next().await, "before");
    proxy.silence(silent);
    let began = Instant::now();
    // No end of the connection notices. Polls cover the time until then.
    pubsub::publish(&db.client, &Sms::new("meanwhile")).await.unwrap();
    assert_eq!(received.next().await, "meanwhile");
    while newest_listener(&db).await == silent {
        assert!(began.elapsed() < Duration::from_secs(15), "the silent listener is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The length of the outage. Set the variable for a longer run.
fn outage() -> Duration {
    let seconds = std::env::var("PUBSUB_OUTAGE_SECONDS").ok();
    Duration::from_secs(
        seconds.map_or(3, |seconds| seconds.parse().expect("PUBSUB_OUTAGE_SECONDS is a number")),
    )
}

#[actix::test]
async fn after_an_outage_the_listener_listens_again() {
    let db = TestDatabase::new().await;
    let proxy = Proxy::start(db.url()).await;
    let (_pubsub, mut received) = start(&proxy.url(db.url())).await;
    for round in 0..3 {
        proxy.cut();
        let until = Instant::now() + if round == 0 { outage() } else { Duration::ZERO };
        let mut published = BTreeSet::new();
        while published.is_empty() || Instant::now() < until {
            let msg = format!("{round}.{}", published.len());
            pubsub::publish(&db.client, &Sms::new(&msg)).await.unwrap();
            published.insert(msg);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        proxy.mend();
        let mended = Instant::now();
        assert_eq!(received.take(published.len()).await.into_iter().collect::<BTreeSet<_>>(), published);
        // The longest pause between two attempts to connect, with some time to spare.
        assert!(mended.elapsed() < Duration::from_secs(25), "it took {:?} to catch up", mended.elapsed());
        while db.count(&format!("select count(*) from ({LISTENERS}) l")).await == 0 {
            assert!(mended.elapsed() < Duration::from_secs(25), "no process listens again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[actix::test]
async fn a_process_has_one_listener_for_all_subscriptions() {
    let db = TestDatabase::new().await;
    let mut builder = db.pubsub();
    for n in 0..30 {
        builder = builder.subscribe_fn(format!("s{n}"), |_: Delivery<Sms>| async { Ok(()) });
    }
    let pubsub = builder.start().await.unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    db.until_count("select count(*) from pubsub.waiters", 30).await;
    let listeners = "select count(*) from pg_stat_activity where datname = current_database() and query ~* '^(listen|notify)'";
    assert_eq!(db.count(listeners).await, 1);
    let connections = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'pubsub'";
    assert!(db.count(connections).await <= 6, "four to work, one to beat, one to listen");
}
