//! Bringing faults about. [`Arena::heal`] ends them.

use crate::arena::{Arena, signal};
use crate::disk;
use crate::fault::{Backend, Fault};
use crate::ledger::uncommitted;
use crate::proxy::{Gate, Notifications};
use crate::publishers::APPLICATION;
use crate::record::now;
use pubsub::testing::{Mode, Server};
use pubsub_tests::{connect, until};
use std::time::{Duration, Instant};

/// The longest wait for a message that springs a trap.
const TRAP: Duration = Duration::from_millis(1_500);

/// The time in which commits are made that only the dying server has.
const LAG: Duration = Duration::from_millis(300);

impl Arena {
    /// Brings a fault about, and returns when it has begun.
    pub(crate) async fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::None => {}
            Fault::KillWorker(worker) => self.signal_worker(worker, "KILL"),
            Fault::FreezeWorker(worker) => {
                self.signal_worker(worker, "STOP");
                self.frozen.push(self.fleet.workers[worker].child.id());
            }
            Fault::DrainWorker(worker) => self.signal_worker(worker, "TERM"),
            Fault::OldRelease(worker) => {
                self.fleet.replace(worker, true);
                self.old_releases.push(worker);
            }
            Fault::LockTables => {
                let client = self.control().await;
                let lock = "begin; lock table pubsub.leases, pubsub.mailbox in access exclusive mode";
                // Without an answer it stands in the queue, where it is in the way too.
                drop(tokio::time::timeout(TRAP, client.batch_execute(lock)).await);
                self.holders.push(client);
            }
            Fault::JumpClock(minutes) => {
                self.clock.iter().for_each(|clock| clock.set(minutes).expect("the clock can be set"));
            }
            Fault::PullCable(worker) => {
                self.fleet.workers[worker].network.iter().for_each(|network| network.set_cable(false));
            }
            Fault::FullDisk => self.tablespace.iter().for_each(|tablespace| disk::fill(tablespace)),
            Fault::FullQueue => self.fill_queue().await,
            Fault::PanicActor(worker) => self.signal_worker(worker, "USR1"),
            Fault::Poison => self.poison().await,
            Fault::CrashServer => self.stop_server(Mode::Immediate).await,
            Fault::RestartServer => self.stop_server(Mode::Fast).await,
            Fault::KillBackend => {
                let pids = self.backends(Backend::Pool).await;
                pids.first().into_iter().for_each(|&pid| signal(pid, "KILL"));
            }
            Fault::FreezeServer => {
                let pid = self.server().pid();
                let pids: Vec<u32> = pid.into_iter().chain(pid.into_iter().flat_map(children)).collect();
                self.freeze(&pids);
            }
            Fault::FreezePostmaster => self.freeze(&Vec::from_iter(self.server().pid())),
            Fault::FreezeBackends(backend) => {
                let pids = self.backends(backend).await;
                self.freeze(&pids);
            }
            Fault::Terminate(backend) => {
                let terminate = format!("select pg_terminate_backend(pid) from ({}) b", of_kind(backend));
                self.query(&terminate).await;
            }
            Fault::CancelStatements => {
                let cancel =
                    "select pg_cancel_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()";
                self.query(&format!("{cancel} and backend_type = 'client backend'")).await;
            }
            Fault::ReadOnly => {
                self.alter_system("set default_transaction_read_only = on").await;
            }
            Fault::PromoteSync => self.promote(true).await,
            Fault::PromoteAsync => self.promote(false).await,
            Fault::ForgeNotifications => self.forge().await,
            _ => self.inject_in_network(fault).await,
        }
    }

    async fn inject_in_network(&mut self, fault: Fault) {
        match fault {
            Fault::Cut(worker) => self.set_gate(worker, Gate::Cut),
            Fault::Stall(worker) => self.set_gate(worker, Gate::Stalled),
            Fault::SwallowNotifications => {
                self.proxies().for_each(|proxy| proxy.set_notifications(Notifications::Swallowed));
            }
            Fault::RepeatNotifications => {
                self.proxies().for_each(|proxy| proxy.set_notifications(Notifications::Repeated(100)));
            }
            Fault::SlowListener(worker) => self.fleet.workers[worker].proxy.slow_down(Some(1_000)),
            Fault::At { worker, what, direction, role, after, forward } => {
                let (proxy, process) = match worker {
                    Some(worker) => {
                        let worker = &self.fleet.workers[worker];
                        (&worker.proxy, worker.child.id())
                    }
                    None => (&self.front, 0),
                };
                proxy.set_trap(what.trap(direction, role, after, forward, process));
                let until = Instant::now() + TRAP;
                while !proxy.has_sprung() && Instant::now() < until {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            _ => unreachable!("{fault:?} is no fault of the network"),
        }
    }

    fn signal_worker(&mut self, worker: usize, name: &str) {
        if self.fleet.workers[worker].child.is_running() {
            signal(self.fleet.workers[worker].child.id(), name);
        }
    }

    fn freeze(&mut self, processes: &[u32]) {
        processes.iter().for_each(|&process| signal(process, "STOP"));
        self.frozen.extend(processes);
    }

    fn set_gate(&self, worker: Option<usize>, gate: Gate) {
        match worker {
            Some(worker) => self.fleet.workers[worker].proxy.set_gate(gate),
            None => self.proxies().for_each(|proxy| proxy.set_gate(gate)),
        }
    }

    async fn stop_server(&mut self, mode: Mode) {
        self.with_server(move |server| server.stop(mode).expect("the server stops")).await;
    }

    async fn backends(&self, backend: Backend) -> Vec<u32> {
        let rows = self.query(&of_kind(backend)).await;
        rows.iter().map(|row| row.get::<_, i32>(0).cast_unsigned()).collect()
    }

    async fn poison(&mut self) {
        self.poisoned += 1;
        self.publishers.poison();
        let until = Instant::now() + crate::arena::PATIENCE;
        let dead = "select count(*) from pubsub.dead_letters where reason = 'crashed'";
        let expected = self.poisoned as i64 * crate::worker::SUBSCRIPTIONS.len() as i64;
        while self.count(dead).await < expected {
            assert!(Instant::now() < until, "a poisonous event is not given up");
            self.fleet.replace_dead();
            self.read_histories();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Fills the queue of notifications behind a session that listens and stays in its transaction.
    async fn fill_queue(&mut self) {
        let listener = self.control().await;
        listener.batch_execute("listen elsewhere").await.expect("it listens");
        listener.batch_execute("begin; select 1").await.expect("a transaction");
        self.holders.push(listener);
        let client = self.control().await;
        let fill = "select pg_notify('elsewhere', repeat('x', 7990) || n) from generate_series(1, 10) n";
        while client.batch_execute(fill).await.is_ok() {}
    }

    /// Notifies everybody of events that do not exist, at the highest rate of one session.
    async fn forge(&self) {
        let client = self.control().await;
        let processes = client.query("select id from pubsub.processes", &[]).await.expect("processes");
        let mut topics = vec!["pubsub".to_owned()];
        topics.extend(processes.iter().map(|row| format!("pubsub_{}", row.get::<_, i64>(0))));
        let until = Instant::now() + Duration::from_millis(500);
        for (number, topic) in topics.iter().cycle().enumerate() {
            if Instant::now() > until {
                return;
            }
            let payload = ["fact", "", "?", "nothing", "fact "][number % 5];
            client.batch_execute(&format!("notify {topic}, '{payload}'")).await.expect("a notification");
        }
    }

    /// Kills the server, and lets a standby take its place: one that has every acknowledged commit, or one that lacks the last.
    async fn promote(&mut self, synchronous: bool) {
        let standby = match self.standby.take() {
            Some(standby) => standby,
            None => self.with_server(|server| server.standby().expect("a standby")).await,
        };
        let client = connect(&standby.url("postgres")).await;
        let control = self.control().await;
        let from = now();
        control.batch_execute("select pg_switch_wal()").await.expect("a switch");
        let written: String = control
            .query_one("select pg_current_wal_flush_lsn()::text", &[])
            .await
            .expect("a position")
            .get(0);
        until(&client, &format!("select pg_last_wal_replay_lsn() >= '{written}'")).await;
        if synchronous {
            self.alter_system("set synchronous_standby_names = '*'").await;
            until(&control, "select exists (select from pg_stat_replication where sync_state = 'sync')")
                .await;
        } else {
            client.batch_execute("alter system set primary_conninfo = ''").await.expect("a setting");
            client.batch_execute("select pg_reload_conf()").await.expect("a reload");
            until(&client, "select not exists (select from pg_stat_wal_receiver where pid is not null)")
                .await;
        }
        // Those that committed without the standby are behind us, and those that wait for it are many.
        tokio::time::sleep(LAG).await;
        self.stop_server(Mode::Immediate).await;
        let standby = promoted(standby).await;
        let client = connect(&standby.url("postgres")).await;
        // Until then sessions may still be told of commits of the old server.
        let old = self.replace_server(standby);
        drop(tokio::task::spawn_blocking(move || drop(old)));
        if !synchronous {
            self.forgetful.push((from, now()));
            let pending: Vec<i64> =
                self.progress.borrow().pending(now()).into_iter().map(|(_, n)| n).collect();
            let forgotten = uncommitted(&client, &pending).await;
            self.progress.borrow_mut().forget(&forgotten);
        }
    }
}

async fn promoted(standby: Server) -> Server {
    let promoting = tokio::task::spawn_blocking(move || {
        standby.promote().expect("a promotion");
        standby
    });
    promoting.await.expect("no panic")
}

/// A query of the process ids of a kind of sessions.
fn of_kind(backend: Backend) -> String {
    let condition = match backend {
        Backend::Heartbeat => "a.application_name = 'pubsub' and a.pid in (select session_pid from pubsub.processes)",
        Backend::Listener => "a.application_name = 'pubsub' and a.query ~ '^(listen|notify) pubsub'",
        Backend::Pool => {
            "a.application_name = 'pubsub' and a.pid not in (select session_pid from pubsub.processes where session_pid is not null)
             and a.query !~ '^(listen|notify) pubsub'"
        }
        Backend::Publisher => return format!("select pid from pg_stat_activity a where a.application_name = '{APPLICATION}'"),
    };
    format!("select a.pid from pg_stat_activity a where {condition}")
}

/// The child processes of a process.
fn children(process: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{process}/task/{process}/children"));
    // A process that has just ended has none.
    listed.unwrap_or_default().split_whitespace().filter_map(|child| child.parse().ok()).collect()
}
