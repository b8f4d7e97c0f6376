//! The effects in the database happen once, whatever is killed, frozen or crashed meanwhile. Counted.

use pubsub::testing::{Database, Mode, Server};
use pubsub::{Channel, Delivery, Error, Failure, Handled, PubSub, SubscribeOptions, publish_all};
use pubsub_tests::{ChildProcess, DEADLINE, connect, in_child_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// The number of events. Set the variable for a longer run.
fn events() -> usize {
    let events = std::env::var("PUBSUB_SETTLE_IN_EVENTS").ok();
    events.map_or(300, |events| events.parse().expect("PUBSUB_SETTLE_IN_EVENTS is a number"))
}

/// The processes that work at the same time.
const PROCESSES: usize = 3;

/// The longest pause between two misfortunes.
const PAUSE: Duration = Duration::from_millis(400);

/// The server crashes after every so many of them.
const CRASH_AFTER: usize = 6;

/// The time that a process is frozen for: longer than its silence limit.
const FROZEN: Duration = Duration::from_millis(900);

/// A charge that must be written once. It is never given up, because nothing in it is to blame for a death.
#[derive(Debug, Serialize, Deserialize, Channel)]
#[channel("charge", key = account, max_attempts = 1_000_000, max_crashes = 1_000_000, backoff(initial = "5ms", max = "50ms"))]
struct Charge {
    n: usize,
    account: usize,
}

/// The number of accounts. Of each of them the ordered subscription has one charge at a time.
const ACCOUNTS: usize = 20;

/// Writes a charge and settles its delivery in one transaction. Some transactions are rolled back, whatever the answer.
async fn charge(delivery: &Delivery<Charge>, client: &mut Client, report: &impl Fn(&str)) -> Handled {
    let transaction = client.transaction().await?;
    let insert = "insert into charges (n) values ($1)";
    transaction.execute(insert, &[&(delivery.n as i64)]).await?;
    let work = Duration::from_millis(10).mul_f64(fastrand::f64());
    tokio::time::sleep(work).await;
    delivery.settle_in(&transaction).await.inspect_err(|error| {
        if matches!(error, Error::LeaseLost { .. }) {
            report("refused");
        }
    })?;
    tokio::time::sleep(work).await;
    match fastrand::u32(0..20) {
        0 => transaction.rollback().await?,
        1 => return Err(Failure::retry("rolled back")),
        2 => return Ok(()),
        3 => {
            transaction.commit().await?;
            return Err(Failure::retry("committed all the same"));
        }
        _ => transaction.commit().await.inspect_err(|error| {
            if error.code().is_some_and(|state| state.code() == "PB010") {
                report("refused");
            }
        })?,
    }
    Ok(())
}

#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_charges() {
    let Some((url, report)) = in_child_process() else { return };
    let own = url.clone();
    let handle = move |delivery: Delivery<Charge>| {
        let (url, report) = (own.clone(), report.clone());
        async move {
            let (mut client, connection) = tokio_postgres::connect(&url, NoTls).await?;
            actix::spawn(connection);
            charge(&delivery, &mut client, &report).await
        }
    };
    let options = || SubscribeOptions::new().concurrency(6);
    let start = || {
        PubSub::builder(&*url)
            .heartbeat_interval(Duration::from_millis(50))
            .silence_limit(Duration::from_millis(400))
            .subscribe_fn_with("unordered", options(), handle.clone())
            .subscribe_fn_with("ordered", options().ordered(), handle.clone())
            .start()
    };
    // The server may be down.
    let mut started = start().await;
    while started.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        started = start().await;
    }
    std::future::pending::<()>().await;
}

/// The misfortunes of the processes and of the server.
type Tally = BTreeMap<&'static str, usize>;

struct Fleet {
    url: String,
    children: Vec<ChildProcess>,
    tally: Tally,
}

impl Fleet {
    fn start(url: &str) -> Self {
        let children = (0..PROCESSES).map(|_| Self::child(url)).collect();
        Self { url: url.to_owned(), children, tally: Tally::new() }
    }

    fn child(url: &str) -> ChildProcess {
        ChildProcess::start("settle_in::crash::child_charges", url)
    }

    fn count(&mut self, what: &'static str, times: usize) {
        *self.tally.entry(what).or_default() += times;
    }

    /// Kills or freezes one of the processes.
    async fn misfortune(&mut self) {
        let which = fastrand::usize(0..PROCESSES);
        if fastrand::u32(0..5) == 0 {
            self.children[which].signal("STOP");
            tokio::time::sleep(FROZEN).await;
            self.children[which].signal("CONT");
            self.count("freezes", 1);
            return;
        }
        self.children[which].signal("KILL");
        let mut killed = std::mem::replace(&mut self.children[which], Self::child(&self.url));
        killed.exited().await;
        self.count("kills", 1);
        self.count("leases lost", killed.reports().len());
    }
}

/// Creates the subscriptions, and what counts their effects.
async fn prepare(url: &str) -> Client {
    let nothing = |_: Delivery<Charge>| async { Ok(()) };
    let builder = PubSub::builder(url).subscribe_fn("unordered", nothing);
    let ordered = SubscribeOptions::new().ordered();
    let pubsub = builder.subscribe_fn_with("ordered", ordered, nothing).start().await.unwrap();
    assert!(pubsub.drain(DEADLINE).await);
    let client = connect(url).await;
    client.batch_execute("create table charges (n bigint not null)").await.unwrap();
    client
}

/// Publishes the next events. Publishing is not what is tested here: it happens between the crashes of the server.
async fn publish(client: &Client, published: &mut usize) {
    let some = fastrand::usize(1..=100).min(events() - *published);
    let charges: Vec<Charge> =
        (*published..*published + some).map(|n| Charge { n, account: n % ACCOUNTS }).collect();
    publish_all(client, &charges).await.unwrap();
    *published += some;
}

/// Each event has two effects, one of each subscription.
async fn until_charged(client: &Client, fleet: &mut Fleet) {
    let left = "select (select count(*) from pubsub.leases) + (select count(*) from pubsub.mailbox) \
                     + (select coalesce(sum(unread), 0)::bigint from pubsub.count_unread(null))";
    let until = Instant::now() + 10 * DEADLINE;
    while client.query_one(left, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(Instant::now() < until, "something is left");
        assert!(fleet.children.iter_mut().all(ChildProcess::is_running));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[actix::test]
async fn effects_happen_once_whatever_is_killed_or_crashes() {
    let started = Instant::now();
    let mut server = tokio::task::spawn_blocking(Server::start).await.unwrap().unwrap();
    let database = Database::create_on(&server.url("postgres")).await.unwrap();
    let mut client = prepare(database.url()).await;
    let mut fleet = Fleet::start(database.url());
    let (mut published, mut misfortunes) = (0, 0);
    while published < events() {
        publish(&client, &mut published).await;
        tokio::time::sleep(PAUSE.mul_f64(fastrand::f64())).await;
        fleet.misfortune().await;
        misfortunes += 1;
        if misfortunes % CRASH_AFTER == CRASH_AFTER / 2 {
            server = tokio::task::spawn_blocking(move || {
                server.restart(Mode::Immediate).unwrap();
                server
            })
            .await
            .unwrap();
            client = connect(database.url()).await;
            fleet.count("crashes", 1);
        }
    }
    until_charged(&client, &mut fleet).await;
    let refused = fleet.children.iter().map(|child| child.reports().len()).sum();
    fleet.count("leases lost", refused);
    let row = client
        .query_one("select count(*), count(distinct n), (select count(*) from pubsub.dead_letters), (select count(*) from pubsub.settled) from charges", &[])
        .await
        .unwrap();
    let [charged, distinct, dead, rest] = [0, 1, 2, 3].map(|column| row.get::<_, i64>(column));
    println!(
        "{published} events in {:?}: {:?}, {charged} charges of two subscriptions",
        started.elapsed(),
        fleet.tally
    );
    assert_eq!(distinct, published as i64, "each event has been charged");
    assert_eq!(charged, 2 * published as i64, "by each subscription once");
    assert_eq!((dead, rest), (0, 0));
}
