//! A database that was restored from a dump, or upgraded, goes on where it was: nothing is skipped.

use pubsub::testing::Server;
use pubsub::{Delivery, Error, PubSub, Seek, migrate, rebase};
use pubsub_tests::{
    ByHand, Heard, Sms, connect, dump, dump_and_restore, ear, newer_binaries, newer_server, restore,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Row};

const PUBLISH: &str = "select pubsub.publish('sms', '{\"msg\": \"hello\"}')";

/// A server with the schema, whose transaction ids are far above those of a fresh one.
async fn old_server() -> (Server, Client) {
    let server = Server::start().unwrap();
    let client = migrated(&server).await;
    let spend = "do $$ begin for n in 1 .. 20000 loop perform pg_current_xact_id(); commit; end loop; end $$";
    client.batch_execute(spend).await.unwrap();
    (server, client)
}

async fn migrated(server: &Server) -> Client {
    migrate(&server.url("postgres")).await.unwrap();
    let client = connect(&server.url("postgres")).await;
    client.batch_execute("select pubsub.declare_channel('sms')").await.unwrap();
    client
}

async fn publish(client: &Client, count: usize) -> BTreeSet<i64> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        ids.insert(client.query_one(PUBLISH, &[]).await.unwrap().get(0));
    }
    ids
}

/// Subscriptions by hand, and publishers with transactions open, on one server after the other.
struct World {
    client: Client,
    publishers: Vec<(Client, bool)>,
    /// What each subscription was given that is never moved.
    given: BTreeMap<&'static str, BTreeSet<i64>>,
}

/// Those that are never moved, and those that are.
const STEADY: [&str; 3] = ["steady-1", "steady-2", "steady-3"];
const MOVED: [&str; 2] = ["moved-1", "moved-2"];

impl World {
    async fn on(server: &Server) -> Self {
        let client = connect(&server.url("postgres")).await;
        let mut publishers = Vec::new();
        for _ in 0..4 {
            publishers.push((connect(&server.url("postgres")).await, false));
        }
        Self { client, publishers, given: BTreeMap::new() }
    }

    /// Something that happens to a log.
    async fn step(&mut self, random: &mut fastrand::Rng) {
        let (publisher, open) = &mut self.publishers[random.usize(..4)];
        match random.u8(..10) {
            0..=3 => drop(publish(publisher, random.usize(1..4)).await),
            4 | 5 => {
                let sql = match (*open, random.u8(..4)) {
                    (false, _) => "begin",
                    (true, 0) => "rollback",
                    (true, _) => "commit",
                };
                publisher.batch_execute(sql).await.unwrap();
                *open = !*open;
            }
            6..=8 => {
                let name = [&STEADY[..], &MOVED].concat()[random.usize(..5)];
                self.claim(name, random.i32(1..6)).await;
            }
            _ => {
                let name = MOVED[random.usize(..2)];
                let to = random.i64(1..200);
                let seek = "select pubsub.seek_to_event('sms', $1, $2)";
                self.client.execute(seek, &[&name, &to]).await.unwrap();
            }
        }
    }

    async fn claim(&mut self, name: &'static str, batch: i32) {
        let subscriber = ByHand::register(&self.client, name).await.unwrap();
        let claimed = subscriber.claim(batch).await.unwrap();
        let Some(first) = claimed.first() else { return };
        assert!(subscriber.settle(first.token).await.unwrap());
        if STEADY.contains(&name) {
            let given = self.given.entry(name).or_default();
            for event in claimed {
                assert!(given.insert(event.id), "{name} is given event {} a second time", event.id);
            }
        }
    }

    /// What every subscription has still to read.
    async fn drain(&self) -> BTreeMap<&'static str, Vec<i64>> {
        let mut read = BTreeMap::new();
        for name in [&STEADY[..], &MOVED].concat() {
            let subscriber = ByHand::register(&self.client, name).await.unwrap();
            let mut ids = subscriber.drain(3).await.unwrap();
            ids.sort_unstable();
            read.insert(name, ids);
        }
        read
    }
}

#[actix::test]
async fn restored_again_and_again_every_subscription_goes_on_exactly_where_it_was() {
    let seed =
        std::env::var("PUBSUB_STRESS_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().unwrap());
    println!("PUBSUB_STRESS_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut server, client) = old_server().await;
    for name in [&STEADY[..], &MOVED].concat() {
        ByHand::register(&client, name).await.unwrap();
    }
    let mut world = World::on(&server).await;
    // The second and the third have transaction ids that the one before has had too.
    for _ in 0..3 {
        for _ in 0..150 {
            world.step(&mut random).await;
        }
        let fresh = Server::start().unwrap();
        dump_and_restore(&server, &fresh);
        // What was in flight is not in the dump.
        for (publisher, open) in &world.publishers {
            if *open {
                publisher.batch_execute("rollback").await.unwrap();
            }
        }
        let expected = world.drain().await;
        let copy = Server::start().unwrap();
        dump_and_restore(&fresh, &copy);
        let exact = at_home(&copy).await;
        let found = World::on(&copy).await.drain().await;
        if exact {
            assert_eq!(found, expected, "what the dump had not read");
        } else {
            for (name, expected) in &expected {
                let missing: Vec<_> = expected.iter().filter(|id| !found[name].contains(id)).collect();
                assert!(missing.is_empty(), "{name}: {missing:?}");
            }
        }

        assert_eq!(at_home(&fresh).await, exact);
        let mut given = world.given;
        for (name, given) in &mut given {
            given.retain(|id| !found[name].contains(id));
        }
        world = World::on(&fresh).await;
        world.given = given;
        server = fresh;
    }
}

/// Publishes or claims over and over, until told to stop. What is claimed is written down in the claim's own transaction.
fn load(url: String, subscription: Option<&'static str>, stop: Arc<AtomicBool>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut client = connect(&url).await;
        let claim = match subscription {
            Some(name) => {
                let subscriber = ByHand::register(&client, name).await.unwrap();
                format!(
                    "insert into public.given select {0}, c.id from pubsub.claim({0}, {1}, 20) c",
                    subscriber.subscription, subscriber.process
                )
            }
            None => String::new(),
        };
        while !stop.load(Ordering::Relaxed) {
            if subscription.is_some() {
                client.batch_execute(&claim).await.unwrap();
            } else {
                let transaction = client.transaction().await.unwrap();
                for _ in 0..fastrand::usize(1..5) {
                    transaction.execute(PUBLISH, &[]).await.unwrap();
                }
                transaction.commit().await.unwrap();
            }
        }
    })
}

#[actix::test]
async fn a_log_that_was_dumped_under_load_is_restored_without_a_gap() {
    let (old, client) = old_server().await;
    client.batch_execute("create table public.given (subscription integer, id bigint)").await.unwrap();
    for name in ["one", "two"] {
        ByHand::register(&client, name).await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let roles = [None, None, None, Some("one"), Some("one"), Some("two")];
    let tasks: Vec<_> = roles.map(|role| load(old.url("postgres"), role, Arc::clone(&stop))).into();
    let given = "select count(*) from public.given";
    while client.query_one(given, &[]).await.unwrap().get::<_, i64>(0) < 1000 {
        tokio::task::yield_now().await;
    }
    let fresh = Server::start().unwrap();
    let dumping = tokio::task::spawn_blocking(move || (dump(&old, &fresh), old, fresh));
    let (dumped, _old, fresh) = dumping.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    restore(&dumped, &fresh);

    let exact = at_home(&fresh).await;
    let client = connect(&fresh.url("postgres")).await;
    for name in ["one", "two"] {
        let subscriber = ByHand::register(&client, name).await.unwrap();
        let events = |sql: &'static str| client.query(sql, &[]);
        let all = ids(&events("select id, 0 from pubsub.db_events").await.unwrap(), 0);
        let given =
            ids(&events("select id, subscription from public.given").await.unwrap(), subscriber.subscription);
        let rest: BTreeSet<i64> = subscriber.drain(500).await.unwrap().into_iter().collect();
        assert_eq!(&given | &rest, all, "{name}: each was claimed before or after");
        let twice = (&given & &rest).len();
        assert!(twice == 0 || !exact, "{name}: {twice} come again");
        // What came while a window was opened: a handful, whatever the size of the log.
        assert!(twice < 100, "{name}: {twice} come again");
    }
}

/// The ids of the rows of one subscription.
fn ids(rows: &[Row], subscription: i32) -> BTreeSet<i64> {
    let of_it = rows.iter().filter(|row| row.get::<_, i32>(1) == subscription);
    of_it.map(|row| row.get(0)).collect()
}

/// Rebases a restored database. Whether it needed no word for that.
async fn at_home(server: &Server) -> bool {
    let client = connect(&server.url("postgres")).await;
    match client.batch_execute("select pubsub.recognize()").await {
        Ok(()) => true,
        Err(refused) => {
            assert_eq!(refused.code().unwrap().code(), "PB005");
            rebase(&server.url("postgres")).await.unwrap();
            false
        }
    }
}

/// The ids of channel `sms` on which a runtime's subscription was called.
async fn hear(url: &str) -> Result<(PubSub, Heard<i64>), Error> {
    let (tell, heard) = ear();
    let handler = move |sms: Delivery<Sms>| {
        tell.tell(sms.event_id().0);
        std::future::ready(Ok(()))
    };
    let pubsub = PubSub::builder(url).subscribe_fn("one", handler).start().await?;
    Ok((pubsub, heard))
}

#[actix::test]
async fn a_restored_database_is_rebased_when_the_runtime_starts() {
    let (old, client) = old_server().await;
    let one = ByHand::register(&client, "one").await.unwrap();
    publish(&client, 5).await;
    one.drain(10).await.unwrap();
    let pending = publish(&client, 5).await;
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);

    let (pubsub, mut heard) = hear(&fresh.url("postgres")).await.unwrap();
    assert_eq!(heard.take(5).await.into_iter().collect::<BTreeSet<_>>(), pending);
    let new = pubsub.publish(&Sms::new("new")).await.unwrap();
    assert_eq!(heard.next().await, new.0);
    // And the old ones can still be read again, although their transaction ids mean nothing here.
    let sought = pubsub.seek::<Sms>("one", Seek::Beginning).await.unwrap();
    assert_eq!((sought.replayed, sought.skipped), (11, 0));
    assert_eq!(heard.take(11).await.len(), 11);
}

#[actix::test]
async fn what_was_published_before_a_restored_database_was_rebased_is_delivered_too() {
    let (old, client) = old_server().await;
    let one = ByHand::register(&client, "one").await.unwrap();
    publish(&client, 5).await;
    assert_eq!(one.drain(10).await.unwrap().len(), 5);
    let pending = publish(&client, 5).await;
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);
    let client = connect(&fresh.url("postgres")).await;
    let since = publish(&client, 5).await;

    // In the eyes of the old cursor they have been read long ago.
    let refused = hear(&fresh.url("postgres")).await.map(drop).unwrap_err();
    assert!(matches!(refused, Error::Moved { .. }), "{refused:?}");
    assert!(refused.to_string().contains("Run pubsub::rebase, or \"select pubsub.rebase()\""), "{refused}");
    let by_hand = ByHand::register(&client, "one").await.unwrap_err();
    assert_eq!(by_hand.code().unwrap().code(), "PB005");
    let claim = "select * from pubsub.claim(1, 1, 10)";
    assert_eq!(client.batch_execute(claim).await.unwrap_err().code().unwrap().code(), "PB005");

    assert_eq!(rebase(&fresh.url("postgres")).await.unwrap(), 1);
    let (_pubsub, mut heard) = hear(&fresh.url("postgres")).await.unwrap();
    assert_eq!(heard.take(10).await.into_iter().collect::<BTreeSet<_>>(), &pending | &since);
    assert!(heard.rest().is_empty());
    // Safe to repeat.
    assert_eq!(rebase(&fresh.url("postgres")).await.unwrap(), 1);
    publish(&client, 1).await;
    heard.next().await;
    assert!(heard.rest().is_empty(), "nothing comes again");
}

#[actix::test]
async fn a_process_that_meets_a_restored_database_when_it_reconnects_notices_and_goes_on() {
    let (mut old, client) = old_server().await;
    let mut fresh = Server::start().unwrap();
    let database = fresh.url("postgres");
    let hosts = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres", old.port(), fresh.port());
    fresh.stop(pubsub::testing::Mode::Fast).unwrap();
    let (_pubsub, mut heard) = hear(&hosts).await.unwrap();
    let first = publish(&client, 3).await;
    assert_eq!(heard.take(3).await.into_iter().collect::<BTreeSet<_>>(), first);

    let settled = "select count(*) from pubsub.leases";
    while client.query_one(settled, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let dump = dump(&old, &fresh);
    let lost = publish(&client, 100).await;
    assert_eq!(heard.take(100).await.into_iter().collect::<BTreeSet<_>>(), lost);
    old.stop(pubsub::testing::Mode::Immediate).unwrap();
    fresh.start_again().unwrap();
    restore(&dump, &fresh);
    // Ids, tokens, process ids and transaction ids have all gone back; the process has not.
    let client = connect(&database).await;
    let again = publish(&client, 3).await;
    assert!(again.iter().all(|id| lost.contains(id)), "the ids of lost events are given again");
    rebase(&database).await.unwrap();
    assert_eq!(heard.take(3).await.into_iter().collect::<BTreeSet<_>>(), again);
    let processes =
        "select count(*) from pubsub.processes where beat_at > clock_timestamp() - interval '5 s'";
    while client.query_one(processes, &[]).await.unwrap().get::<_, i64>(0) != 1 {
        tokio::task::yield_now().await;
    }
}

#[actix::test]
async fn an_old_event_is_no_straggler_of_the_new_cluster() {
    // Both clusters are fresh: most transaction ids of the one have been those of an event of the other.
    let old = Server::start().unwrap();
    let client = migrated(&old).await;
    let one = ByHand::register(&client, "one").await.unwrap();
    publish(&client, 3000).await;
    one.drain(500).await.unwrap();
    let fresh = Server::start().unwrap();
    dump_and_restore(&old, &fresh);
    let client = connect(&fresh.url("postgres")).await;
    let mut long = connect(&fresh.url("postgres")).await;
    let one = ByHand::register(&client, "one").await.unwrap();
    let mut collisions = 0;
    for _ in 0..50 {
        let in_flight = long.transaction().await.unwrap();
        let late: i64 = in_flight.query_one(PUBLISH, &[]).await.unwrap().get(0);
        let twin = "select count(*) from pubsub.db_events where xid = pg_current_xact_id() and id <> $1";
        collisions += in_flight.query_one(twin, &[&late]).await.unwrap().get::<_, i64>(0);
        let early = publish(&client, 1).await;
        assert_eq!(one.drain(5).await.unwrap(), early.into_iter().collect::<Vec<_>>());
        in_flight.commit().await.unwrap();
        assert_eq!(one.drain(5).await.unwrap(), [late]);
    }
    assert!(collisions > 0, "otherwise this shows nothing");
}

#[actix::test]
async fn a_rebase_does_not_wait_for_a_publisher_for_ever() {
    let (old, client) = old_server().await;
    let mut other = connect(&old.url("postgres")).await;
    let in_flight = other.transaction().await.unwrap();
    in_flight.execute(PUBLISH, &[]).await.unwrap();
    let refused = client.batch_execute("set statement_timeout = '60s'; select pubsub.rebase()").await;
    assert_eq!(refused.unwrap_err().code().unwrap().code(), "55P03", "the lock is not to be had");
    in_flight.commit().await.unwrap();
    client.batch_execute("select pubsub.rebase()").await.unwrap();
}

#[actix::test]
#[ignore = "needs PUBSUB_POSTGRES_NEWER_BIN: a PostgreSQL newer than the default"]
async fn a_dump_restored_into_a_newer_version_goes_on_where_it_was() {
    let (old, client) = old_server().await;
    let one = ByHand::register(&client, "one").await.unwrap();
    publish(&client, 10).await;
    assert_eq!(one.claim(4).await.unwrap().len(), 4, "leased, and the window open");
    let newer = newer_server();
    assert_ne!(old.version().split('.').next(), newer.version().split('.').next());
    dump_and_restore(&old, &newer);
    let (_pubsub, mut heard) = hear(&newer.url("postgres")).await.unwrap();
    let mut heard = heard.take(10).await;
    heard.sort_unstable();
    assert_eq!(heard, (1..=10).collect::<Vec<_>>(), "the leased ones as well: their process is gone");
}

#[actix::test]
#[ignore = "needs PUBSUB_POSTGRES_NEWER_BIN: a PostgreSQL newer than the default"]
async fn an_upgrade_with_pg_upgrade_loses_nothing_and_repeats_nothing() {
    let newer = newer_binaries();
    let (mut server, client) = old_server().await;
    let by_hand = ByHand::register(&client, "by-hand").await.unwrap();
    let (pubsub, mut heard) = hear(&server.url("postgres")).await.unwrap();
    let mut long = connect(&server.url("postgres")).await;
    // A window that is open, with a transaction in flight at its boundary.
    let in_flight = long.transaction().await.unwrap();
    let late: i64 = in_flight.query_one(PUBLISH, &[]).await.unwrap().get(0);
    let before = publish(&client, 10).await;
    let leased = by_hand.claim(4).await.unwrap();
    in_flight.commit().await.unwrap();
    let expected = &before | &BTreeSet::from([late]);
    assert_eq!(heard.take(11).await.into_iter().collect::<BTreeSet<_>>(), expected);
    let unsettled = format!("select count(*) from pubsub.leases where process <> {}", by_hand.process);
    while client.query_one(&unsettled, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    let process = by_hand.process;
    let was = server.version().to_owned();
    server.upgrade(&newer).unwrap();
    assert_ne!(server.version(), was);

    let client = connect(&server.url("postgres")).await;
    let after = publish(&client, 3).await;
    assert_eq!(heard.take(3).await.into_iter().collect::<BTreeSet<_>>(), after);
    assert!(heard.rest().is_empty(), "nothing comes again");
    let settle = "select pubsub.settle($1, $2)";
    let settled: bool = client.query_one(settle, &[&process, &leased[0].token]).await.unwrap().get(0);
    assert!(settled, "a lease is still one");
    let by_hand = ByHand::register(&client, "by-hand").await.unwrap();
    let mut rest = by_hand.drain(3).await.unwrap();
    rest.extend(leased.iter().map(|event| event.id));
    rest.sort_unstable();
    assert_eq!(
        rest,
        (&expected | &after).into_iter().collect::<Vec<_>>(),
        "its window is read on to the end"
    );
    let row = client
        .query_one("select floor, system_identifier = pubsub.system_identifier() from pubsub.home", &[]);
    let row = row.await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, bool>(1)), (0, true), "noted, and not rebased");
    assert!(pubsub.drain(Duration::from_secs(10)).await);
}
