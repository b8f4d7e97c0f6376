//! Everything that a run needs: a server, perhaps its standby, workers and publishers.

use crate::clock::Clock;
use crate::disk;
use crate::fleet::Fleet;
use crate::history::{History, Nanos, Verdict};
use crate::ledger;
use crate::network::Network;
use crate::progress::Progress;
use crate::proxy::Proxy;
use crate::publishers::Publishers;
use crate::record::now;
use crate::report::describe_delays;
use crate::worker::SUBSCRIPTIONS;
use pubsub::testing::{Options, Server};
use pubsub_tests::connect;
use std::cell::RefCell;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Row};

/// The longest time from the end of a fault until every event published before is handled, and from the end of a run until nothing
/// is left. The library's own limits add up to less than half of it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The duration from which a recovery is explained in the output.
const SLOW: Duration = Duration::from_secs(4);

/// The conditions of a run.
#[derive(Debug, Default)]
pub(crate) struct Setup {
    pub(crate) workers: usize,
    /// Events per second.
    pub(crate) rate: f64,
    /// Settings of the server.
    pub(crate) settings: Vec<(&'static str, &'static str)>,
    /// A directory for the database's files.
    pub(crate) tablespace: Option<PathBuf>,
    /// A network for the last worker.
    pub(crate) network: Option<Network>,
    /// The clock of the server.
    pub(crate) clock: Option<Clock>,
    /// The time that a message between a worker and the server takes.
    pub(crate) delay: Duration,
}

pub(crate) struct Arena {
    /// `None` only while a task has it.
    server: Option<Server>,
    database: &'static str,
    /// The workers' way to a server that is far away.
    _far: Option<pubsub_tests::Proxy>,
    pub(crate) tablespace: Option<PathBuf>,
    pub(crate) clock: Option<Clock>,
    pub(crate) standby: Option<Server>,
    pub(crate) fleet: Fleet,
    /// The publishers' way to the server.
    pub(crate) front: Proxy,
    pub(crate) publishers: Rc<Publishers>,
    pub(crate) progress: Rc<RefCell<Progress>>,
    pub(crate) forgetful: Vec<(Nanos, Nanos)>,
    /// The processes that were stopped with SIGSTOP.
    pub(crate) frozen: Vec<u32>,
    pub(crate) poisoned: usize,
    /// The workers that run the old release.
    pub(crate) old_releases: Vec<usize>,
    /// Sessions that hold something until they end.
    pub(crate) holders: Vec<Client>,
}

impl Arena {
    /// Starts a server, workers and publishers.
    pub(crate) async fn start(setup: Setup) -> Self {
        let Setup { workers, rate, settings, tablespace, network, clock, delay } = setup;
        let settings = settings.into_iter().chain([("log_min_messages", "fatal"), ("max_wal_senders", "10")]);
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let bin_dir = clock.as_ref().map(Clock::binaries);
        let starting = || Server::start_with(Options { settings, bin_dir, ..Options::default() });
        let server = tokio::task::spawn_blocking(starting).await.expect("no panic").expect("a server");
        let database = match &tablespace {
            None => "postgres",
            Some(directory) => {
                let client = connect(&server.url("postgres")).await;
                let create = format!("create tablespace small location '{}'", directory.display());
                client.batch_execute(&create).await.expect("a tablespace");
                client.batch_execute("create database faults tablespace small").await.expect("a database");
                "faults"
            }
        };
        let url = server.url(database);
        pubsub::migrate(&url).await.expect("a migrated database");
        ledger::create(&connect(&url).await).await;
        let front = Proxy::start(server.port(), Ipv4Addr::LOCALHOST.into());
        let progress = Rc::new(RefCell::new(Progress::default()));
        let networks = (1..workers).map(|_| None).chain([network]).collect();
        let far = match delay {
            Duration::ZERO => None,
            delay => Some(pubsub_tests::Proxy::far(&url, delay).await),
        };
        let way = far.as_ref().map_or(server.port(), pubsub_tests::Proxy::port);
        let fleet = Fleet::start(networks, way, database);
        for worker in &fleet.workers {
            assert_eq!(worker.child.next().await, "started");
        }
        let publishers = Publishers::start(&front.url(database), rate, &progress);
        let mut arena = Self {
            front,
            publishers,
            server: Some(server),
            database,
            _far: far,
            tablespace,
            clock,
            standby: None,
            fleet,
            progress,
            forgetful: Vec::new(),
            frozen: Vec::new(),
            poisoned: 0,
            old_releases: Vec::new(),
            holders: Vec::new(),
        };
        arena.until_recovered(now()).await.expect("a run begins well");
        arena
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("no task has the server")
    }

    /// Runs a task that uses the server and blocks.
    pub(crate) async fn with_server<T: Send + 'static>(
        &mut self,
        task: impl FnOnce(&mut Server) -> T + Send + 'static,
    ) -> T {
        let mut server = self.server.take().expect("no task has the server");
        let done = tokio::task::spawn_blocking(move || {
            let done = task(&mut server);
            (server, done)
        });
        let (server, done) = done.await.expect("no panic");
        self.server = Some(server);
        done
    }

    /// Makes another server the one that everybody uses.
    pub(crate) fn replace_server(&mut self, server: Server) -> Server {
        for proxy in self.proxies() {
            proxy.lead_to(server.port());
        }
        self.server.replace(server).expect("no task has the server")
    }

    pub(crate) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.fleet.workers.iter().map(|worker| &worker.proxy).chain([&self.front])
    }

    /// Connects past the proxies.
    pub(crate) async fn control(&self) -> Client {
        let until = Instant::now() + PATIENCE;
        loop {
            let url = self.server().url(self.database);
            match tokio_postgres::connect(&url, tokio_postgres::NoTls).await {
                Ok((client, connection)) => {
                    actix::spawn(connection);
                    return client;
                }
                Err(error) if Instant::now() > until => panic!("the server does not come back: {error:?}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Runs a statement past the proxies, again if the server ends the session.
    pub(crate) async fn query(&self, sql: &str) -> Vec<Row> {
        let until = Instant::now() + PATIENCE;
        loop {
            match self.control().await.query(sql, &[]).await {
                Ok(rows) => return rows,
                Err(error) if Instant::now() < until && is_of_session(&error) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{sql}: {error:?}"),
            }
        }
    }

    /// Reads one number past the proxies.
    pub(crate) async fn count(&self, sql: &str) -> i64 {
        self.query(sql).await[0].get(0)
    }

    /// Changes a setting of the server.
    pub(crate) async fn alter_system(&self, change: &str) {
        self.query(&format!("alter system {change}")).await;
        self.query("select pg_reload_conf()").await;
    }

    /// Ends every fault, and starts the server and the workers that have ended again.
    pub(crate) async fn heal(&mut self) {
        for process in self.frozen.drain(..) {
            signal(process, "CONT");
        }
        self.with_server(|server| server.start_again().expect("the server starts again")).await;
        self.alter_system("reset default_transaction_read_only").await;
        for proxy in self.proxies() {
            proxy.heal();
        }
        self.holders.clear();
        self.clock.iter().for_each(|clock| clock.set(0).expect("the clock can be set"));
        self.fleet
            .workers
            .iter()
            .filter_map(|worker| worker.network.as_ref())
            .for_each(|net| net.set_cable(true));
        self.tablespace.iter().for_each(|tablespace| disk::free(tablespace));
        self.old_releases.drain(..).for_each(|worker| self.fleet.replace(worker, false));
        self.fleet.replace_dead();
    }

    /// Reads the workers' histories.
    pub(crate) fn read_histories(&mut self) {
        let mut progress = self.progress.borrow_mut();
        self.fleet.read().into_iter().for_each(|handling| progress.handled(handling));
    }

    /// Waits until every event that was acknowledged before `since` is handled, and a later one too. Returns the time since then,
    /// or a description of what is missing.
    pub(crate) async fn until_recovered(&mut self, since: Nanos) -> Result<Duration, String> {
        let until = Instant::now() + PATIENCE;
        let mut last = Vec::new();
        loop {
            self.read_histories();
            let recovery = Duration::from_nanos(now() - since);
            {
                let progress = self.progress.borrow();
                if progress.has_recovered(since) {
                    if recovery > SLOW {
                        println!("slow: {}", progress.describe(&last, since));
                    }
                    return Ok(recovery);
                }
                last = Some(progress.pending(since)).filter(|pending| !pending.is_empty()).unwrap_or(last);
            }
            if Instant::now() > until {
                return Err(self.describe_hang(since).await);
            }
            // A worker may die after its fault has ended, for instance of a poison event.
            self.fleet.replace_dead();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn describe_hang(&self, since: Nanos) -> String {
        let pending = self.progress.borrow().pending(since);
        let state = "select format('leases %s, mailbox %s, dead letters %s, processes %s, sessions %s',
            (select json_agg(l) from pubsub.leases l), (select json_agg(m) from (select * from pubsub.mailbox limit 5) m),
            (select json_agg(d) from (select * from pubsub.dead_letters limit 5) d), (select json_agg(p) from pubsub.processes p),
            (select json_agg(a) from (select pid, application_name, state, wait_event, left(query, 60) as query
               from pg_stat_activity where datname is not null) a))";
        let state: String = self.query(state).await[0].get(0);
        let reports: Vec<_> = self.fleet.workers.iter().map(|worker| worker.child.reports()).collect();
        format!(
            "not recovered after {PATIENCE:?}: {} pending, {:?}; {state}; {reports:?}; histories in {}",
            pending.len(),
            &pending[..pending.len().min(10)],
            self.fleet.directory().display()
        )
    }

    /// Stops publishing, lets the workers finish, and checks the history.
    pub(crate) async fn finish(mut self) -> Result<Verdict, String> {
        self.publishers.stop().await;
        let since = now();
        let until = Instant::now() + PATIENCE;
        let left = "select (select count(*) from pubsub.leases)
                         + (select count(*) from pubsub.mailbox where token is null or attempt < 5)";
        loop {
            self.read_histories();
            self.fleet.replace_dead();
            let left = self.count(left).await;
            if left == 0 && self.progress.borrow().pending(now()).is_empty() {
                break;
            }
            if Instant::now() > until {
                return Err(self.describe_hang(since).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // Events of unknown outcome are in no list of pending ones. They are read before anything that was published later.
        let mut history = History::default();
        ledger::read(&self.control().await, &mut history).await;
        self.read_histories();
        let progress = self.progress.take();
        for (index, (name, _)) in SUBSCRIPTIONS.iter().enumerate() {
            println!("{}", describe_delays(name, progress.delays(index)));
        }
        history.publications = progress.publications;
        history.handlings = progress.handlings;
        history.forgetful = std::mem::take(&mut self.forgetful);
        let verdict = history.check();
        if !verdict.violations.is_empty() {
            self.explain(&verdict).await;
        }
        Ok(verdict)
    }

    /// Prints what the database knows about the events of violations, and keeps the histories.
    async fn explain(&mut self, verdict: &Verdict) {
        let events: Vec<String> =
            verdict.violations.iter().map(|violation| violation.event().to_string()).collect();
        let events = format!("select event from faults.committed where n in ({})", events.join(", "));
        let state = format!(
            "select format('dead letters %s, leases %s',
                (select json_agg(d) from pubsub.dead_letters d where d.event_id in ({events})),
                (select json_agg(l) from (select * from faults.leases l where l.event in ({events}) order by l.at limit 200) l))"
        );
        let state: String = self.query(&state).await[0].get(0);
        println!("{state}; histories in {}", self.fleet.keep().display());
    }
}

/// Sends a signal to a process, which may have ended.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), process.to_string()]).output();
    sent.expect("there is a kill command");
}

/// Whether an error is about the session, not about the statement.
fn is_of_session(error: &tokio_postgres::Error) -> bool {
    error.code().is_none_or(|state| state.code().starts_with("57"))
}
