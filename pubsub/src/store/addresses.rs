//! The addresses of a database: each of its hosts, and each address of a host's name, tried one after another.

use super::attempts::{Attempts, unconnected};
use crate::error::Error;
use futures_util::future::join_all;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio::time::Instant;
use tokio_postgres::Config;

/// The longest time to open a connection, over all addresses. It is below the deadline of a statement, which may have to wait for
/// it.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(9);

/// The longest time for one of several addresses, after which the next one is tried. It covers everything until the session is
/// ready, because a server may accept and stay silent.
const ADDRESS_TIMEOUT: Duration = Duration::from_secs(3);

/// The idle time before a silent connection is probed, the interval of the probes, and the number of lost probes that end it. A
/// dead peer is noticed after about 11 s, where the system's default is more than two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

/// Where a server is, seen from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Behind a socket of this machine's file system.
    Socket,
    /// Behind a loopback address.
    Loopback,
    Elsewhere,
}

/// A database on one of its hosts.
#[derive(Clone)]
pub(super) struct Host {
    /// The name that was given, which is also the one that certificates are compared with.
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) config: Config,
    port: u16,
    /// The address, if it is known without resolving the name.
    address: Option<IpAddr>,
}

impl Host {
    pub(super) fn new(database: &Config, name: String, address: Option<IpAddr>, port: u16) -> Self {
        let mut config = database.clone();
        config.host(&name).port(port);
        if let Some(address) = address {
            config.hostaddr(address);
        }
        let is_near = match name.parse::<IpAddr>() {
            Ok(address) => address.is_loopback(),
            Err(_) => name.eq_ignore_ascii_case("localhost"),
        };
        let place = match address {
            None if name.starts_with('/') => Place::Socket,
            // The name of another machine stays one behind a tunnel, and a name for this one may be resolved to another.
            _ if is_near && address.is_none_or(|address| address.is_loopback()) => Place::Loopback,
            _ => Place::Elsewhere,
        };
        Self { name, place, config, port, address }
    }

    /// The server's name with its port, or its socket.
    pub(super) fn server(&self) -> String {
        let Self { name, port, .. } = self;
        match self.place {
            Place::Socket => format!("{}/.s.PGSQL.{port}", name.trim_end_matches('/')),
            _ if name.contains(':') => format!("[{name}]:{port}"),
            _ => format!("{name}:{port}"),
        }
    }

    /// The server in quotes, with its address if that is another.
    pub(super) fn shown(&self) -> String {
        let server = self.server();
        match self.address {
            Some(address) if self.name.parse() != Ok(address) => format!("`{server}` at {address}"),
            _ => format!("`{server}`"),
        }
    }

    /// Returns the host at one address of its name.
    fn at(&self, address: IpAddr) -> Self {
        let mut at = self.clone();
        at.address = Some(address);
        at.config.hostaddr(address);
        if !address.is_loopback() {
            at.place = Place::Elsewhere;
        }
        at
    }

    /// Returns the host at each address of its name until `end`, or why there is none.
    async fn resolve(&self, end: Instant) -> Vec<Result<Self, Unresolved>> {
        if self.address.is_some() || self.place == Place::Socket {
            return vec![Ok(self.clone())];
        }
        let unresolved = |error| vec![Err(Unresolved { server: self.shown(), error })];
        let end = end.min(Instant::now() + ADDRESS_TIMEOUT);
        match tokio::time::timeout_at(end, lookup_host((&*self.name, self.port))).await {
            Ok(Ok(found)) => {
                let found: Vec<_> = found.map(|address| Ok(self.at(address.ip()))).collect();
                if found.is_empty() { unresolved(io::Error::other("its name has no address")) } else { found }
            }
            Ok(Err(error)) => unresolved(error),
            Err(_) => unresolved(io::Error::new(io::ErrorKind::TimedOut, "its name is not resolved in time")),
        }
    }
}

/// A host whose name has no address.
struct Unresolved {
    server: String,
    error: io::Error,
}

/// The addresses of a database. Clones remember together which of them answered last.
#[derive(Clone)]
pub(super) struct Addresses {
    hosts: Arc<[Host]>,
    /// The longest time for one address, if the target sets it.
    limit: Option<Duration>,
    /// The address that answered last, which is tried first.
    last: Arc<AtomicUsize>,
}

impl Addresses {
    /// Makes the addresses of at least one host.
    pub(super) fn new(hosts: Vec<Host>, limit: Option<Duration>, shuffled: bool) -> Self {
        let first = if shuffled { fastrand::usize(..hosts.len()) } else { 0 };
        Self { hosts: hosts.into(), limit, last: Arc::new(AtomicUsize::new(first)) }
    }

    /// The names of the servers, with their ports.
    pub(super) fn servers(&self) -> Vec<String> {
        self.hosts.iter().map(Host::server).collect()
    }

    #[cfg(all(test, feature = "testing"))]
    pub(super) fn first_config(&self) -> &Config {
        &self.hosts[0].config
    }

    /// Returns addresses with another configuration.
    #[cfg(feature = "testing")]
    pub(super) fn map(&self, change: impl Fn(&mut Config)) -> Self {
        let mut hosts = self.hosts.to_vec();
        hosts.iter_mut().for_each(|host| change(&mut host.config));
        Self { hosts: hosts.into(), limit: self.limit, last: Arc::clone(&self.last) }
    }

    /// Opens a connection to one address after another, each for its share of the time until `end`. The error tells of each.
    pub(super) async fn try_each<T, F>(&self, end: Instant, open: impl Fn(Host) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        // All at once, because each may take as long as its name server is silent.
        let addresses = join_all(self.hosts.iter().map(|host| host.resolve(end))).await;
        let addresses: Vec<_> = addresses.into_iter().flatten().collect();
        let share = share(addresses.iter().filter(|address| address.is_ok()).count());
        let share = self.limit.map_or(share, |limit| limit.min(share));
        let first = self.last.load(Ordering::Relaxed);
        let mut attempts = Attempts::default();
        for index in (first..first + addresses.len()).map(|index| index % addresses.len()) {
            let host = match &addresses[index] {
                Ok(host) => host,
                Err(Unresolved { server, error }) => {
                    // An error of the system cannot be copied.
                    let error = io::Error::new(error.kind(), error.to_string());
                    attempts.failed(server.clone(), unconnected(server.clone(), error));
                    continue;
                }
            };
            let begun = Instant::now();
            let time = share.min(end.saturating_duration_since(begun));
            match tokio::time::timeout(time, open(host.clone())).await {
                Ok(Ok(opened)) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(opened);
                }
                Ok(Err(error)) => attempts.failed(host.shown(), error),
                Err(_) => attempts.was_silent(host.shown(), time),
            }
        }
        Err(attempts.into_error())
    }
}

/// Returns the longest time for each of so many addresses.
fn share(addresses: usize) -> Duration {
    match u32::try_from(addresses) {
        Ok(count) if count > 1 => (CONNECT_TIMEOUT / count).min(ADDRESS_TIMEOUT),
        _ => CONNECT_TIMEOUT,
    }
}

pub(super) fn keep_alive(config: &mut Config) {
    config
        .connect_timeout(ADDRESS_TIMEOUT)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(KEEPALIVE_INTERVAL)
        .keepalives_retries(KEEPALIVE_RETRIES);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_share_the_time() {
        assert_eq!([1, 2, 3, 9].map(|count| share(count).as_secs()), [9, 3, 3, 1]);
    }

    #[test]
    fn a_server_is_near_only_by_its_name_and_its_address() {
        let place = |name: &str, address: Option<&str>| {
            let address = address.map(|address| address.parse().unwrap());
            Host::new(&Config::new(), name.to_owned(), address, 5432).place
        };
        for name in ["localhost", "LocalHost", "127.0.0.1", "127.8.8.8", "::1"] {
            assert_eq!(place(name, None), Place::Loopback, "{name}");
            assert_eq!(place(name, Some("10.0.0.1")), Place::Elsewhere, "{name}");
        }
        assert_eq!(place("/run/postgresql", None), Place::Socket);
        assert_eq!(place("db.example", None), Place::Elsewhere);
        assert_eq!(place("localhost", Some("127.0.0.1")), Place::Loopback);
        assert_eq!(place("db.example", Some("127.0.0.1")), Place::Elsewhere);
        let moved = Host::new(&Config::new(), "localhost".to_owned(), None, 5432);
        assert_eq!(moved.at("10.0.0.1".parse().unwrap()).place, Place::Elsewhere);
    }

    #[test]
    fn a_server_is_shown_with_its_port_and_its_address() {
        let shown = |name: &str, address: Option<&str>| {
            let address = address.map(|address| address.parse().unwrap());
            Host::new(&Config::new(), name.to_owned(), address, 5432).shown()
        };
        assert_eq!(shown("db.example", None), "`db.example:5432`");
        assert_eq!(shown("db.example", Some("10.0.0.1")), "`db.example:5432` at 10.0.0.1");
        assert_eq!(shown("10.0.0.1", Some("10.0.0.1")), "`10.0.0.1:5432`");
        assert_eq!(shown("::1", None), "`[::1]:5432`");
        assert_eq!(shown("/run/postgresql", None), "`/run/postgresql/.s.PGSQL.5432`");
    }
}
