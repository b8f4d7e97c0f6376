//! The addresses of a database: each of its hosts, and each address of a host's name, tried one after another.

use crate::error::Error;
use std::net::{IpAddr, SocketAddr};
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
    /// Whether the name must be resolved.
    by_name: bool,
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
        let by_name = address.is_none() && place != Place::Socket;
        Self { name, place, config, port, by_name }
    }

    /// Returns the host at one address of its name.
    fn at(&self, address: IpAddr) -> Self {
        let mut at = self.clone();
        at.config.hostaddr(address);
        if !address.is_loopback() {
            at.place = Place::Elsewhere;
        }
        at
    }

    /// Returns the host for a driver that resolves its name, perhaps to another machine.
    fn unresolved(&self) -> Self {
        let place = if self.by_name { Place::Elsewhere } else { self.place };
        Self { place, ..self.clone() }
    }
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

    /// The names of the hosts.
    pub(super) fn names(&self) -> Vec<&str> {
        self.hosts.iter().map(|host| &*host.name).collect()
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

    /// Opens a connection to one address after another, each for its share of the time until `end`. Returns the last error; none
    /// if every address was silent.
    pub(super) async fn try_each<T, F>(
        &self,
        end: Instant,
        open: impl Fn(Host) -> F,
    ) -> Result<T, Option<Error>>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut failed = None;
        let trying = async {
            let addresses = self.resolve().await;
            let share = share(addresses.len());
            let share = self.limit.map_or(share, |limit| limit.min(share));
            let first = self.last.load(Ordering::Relaxed);
            for index in (first..first + addresses.len()).map(|index| index % addresses.len()) {
                match tokio::time::timeout(share, open(addresses[index].clone())).await {
                    Ok(Ok(opened)) => {
                        self.last.store(index, Ordering::Relaxed);
                        return Some(opened);
                    }
                    Ok(Err(error)) => failed = Some(error),
                    Err(_) => {}
                }
            }
            None
        };
        let opened = tokio::time::timeout_at(end, trying).await;
        opened.ok().flatten().ok_or(failed)
    }

    /// Returns the database on each address of each host. A name that is not resolved is left to the driver, for its error.
    async fn resolve(&self) -> Vec<Host> {
        let mut addresses = Vec::new();
        for host in &*self.hosts {
            let before = addresses.len();
            if host.by_name {
                let found = lookup_host((&*host.name, host.port));
                let found = tokio::time::timeout(ADDRESS_TIMEOUT, found).await;
                let at = |address: SocketAddr| host.at(address.ip());
                addresses.extend(found.into_iter().flatten().flatten().map(at));
            }
            if addresses.len() == before {
                addresses.push(host.unresolved());
            }
        }
        addresses
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
        assert_eq!(moved.unresolved().place, Place::Elsewhere);
        let socket = Host::new(&Config::new(), "/run/postgresql".to_owned(), None, 5432);
        assert_eq!(socket.unresolved().place, Place::Socket);
    }
}
