//! The worker processes of a run, each behind a proxy of its own.

use crate::history::Handling;
use crate::network::Network;
use crate::proxy::Proxy;
use crate::record::Tail;
use crate::worker::{HISTORY, OLD_RELEASE, WORKER};
use pubsub_tests::ChildProcess;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A worker process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) child: ChildProcess,
    pub(crate) proxy: Proxy,
    /// The worker's own network, if it is not in this machine's.
    pub(crate) network: Option<Network>,
}

/// The workers, and the histories of all that there have been.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) workers: Vec<Worker>,
    directory: PathBuf,
    /// Whether the directory outlives the run, as it does after a panic.
    keeps: bool,
    histories: Vec<Tail>,
    database: String,
}

impl Fleet {
    /// Starts a worker in each of these networks, on a database of the server on this port.
    pub(crate) fn start(networks: Vec<Option<Network>>, server: u16, database: &str) -> Self {
        let directory = std::env::temp_dir().join(format!("pubsub-faults-{:016x}", fastrand::u64(..)));
        std::fs::create_dir(&directory).expect("a place for the histories");
        let mut fleet = Self {
            workers: Vec::new(),
            directory,
            keeps: false,
            histories: Vec::new(),
            database: database.to_owned(),
        };
        for network in networks {
            let address = network.as_ref().map_or(Ipv4Addr::LOCALHOST.into(), Network::address);
            let proxy = Proxy::start(server, address);
            let child = fleet.start_child(&proxy.url(database), network.as_ref(), false);
            fleet.workers.push(Worker { child, proxy, network });
        }
        fleet
    }

    fn start_child(&mut self, url: &str, network: Option<&Network>, old: bool) -> ChildProcess {
        let history = self.directory.join(self.histories.len().to_string());
        let program = std::env::current_exe().expect("a test binary has a path");
        let mut command = network.map_or_else(|| Command::new(&program), |network| network.command(&program));
        command.args(["--exact", WORKER, "--ignored", "--nocapture", "--test-threads=1"]);
        command.env(HISTORY, &history);
        if old {
            command.env(OLD_RELEASE, "1");
        }
        self.histories.push(Tail::new(history));
        ChildProcess::run(command, url)
    }

    /// Starts a process in the place of each that has exited. Returns their number.
    pub(crate) fn replace_dead(&mut self) -> usize {
        let dead: Vec<usize> =
            (0..self.workers.len()).filter(|&worker| !self.workers[worker].child.is_running()).collect();
        for &worker in &dead {
            self.replace(worker, false);
        }
        dead.len()
    }

    /// Kills a process and starts one in its place, of the old release or of the new one.
    pub(crate) fn replace(&mut self, worker: usize, old: bool) {
        let url = self.workers[worker].proxy.url(&self.database);
        let network = self.workers[worker].network.take();
        self.workers[worker].child = self.start_child(&url, network.as_ref(), old);
        self.workers[worker].network = network;
    }

    /// Reads the steps since the last call.
    pub(crate) fn read(&mut self) -> Vec<Handling> {
        self.histories.iter_mut().flat_map(Tail::next).collect()
    }

    /// The directory with the histories.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Lets the directory with the histories outlive the run.
    pub(crate) fn keep(&mut self) -> &Path {
        self.keeps = true;
        &self.directory
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if !self.keeps && !std::thread::panicking() {
            // A directory that is left behind harms nobody.
            std::fs::remove_dir_all(&self.directory).unwrap_or_default();
        }
    }
}
