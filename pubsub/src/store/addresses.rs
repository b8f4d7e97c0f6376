//! The addresses of a database: each host of its URL, and each address of a host's name, tried one after another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::net::lookup_host;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts};

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

/// The addresses of a database. Clones remember together which of them answered last.
#[derive(Clone)]
pub(super) struct Addresses {
    /// The database on each host of its URL.
    hosts: Arc<[Config]>,
    /// The address that answered last, which is tried first.
    last: Arc<AtomicUsize>,
}

impl Addresses {
    pub(super) fn new(mut config: Config) -> Self {
        keep_alive(&mut config);
        let hosts = on_each_host(&config);
        let shuffles = config.get_load_balance_hosts() == LoadBalanceHosts::Random;
        let first = if shuffles { fastrand::usize(..hosts.len()) } else { 0 };
        Self { hosts: hosts.into(), last: Arc::new(AtomicUsize::new(first)) }
    }

    /// Returns the database on its first host.
    pub(super) fn first_host(&self) -> &Config {
        &self.hosts[0]
    }

    /// Opens a connection to one address after another, each for its share of [`CONNECT_TIMEOUT`]. Returns the last error; none if
    /// every address was silent.
    pub(super) async fn try_each<T, E, F>(&self, open: impl Fn(Config) -> F) -> Result<T, Option<E>>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut failed = None;
        let trying = async {
            let addresses = self.resolve().await;
            let share = share(addresses.len());
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
        let opened = tokio::time::timeout(CONNECT_TIMEOUT, trying).await;
        opened.ok().flatten().ok_or(failed)
    }

    /// Returns the database on each address of each host. A name that is not resolved is left to the driver, for its error.
    async fn resolve(&self) -> Vec<Config> {
        let mut addresses = Vec::new();
        for host in &*self.hosts {
            let before = addresses.len();
            if let ([Host::Tcp(name)], []) = (host.get_hosts(), host.get_hostaddrs()) {
                let port = host.get_ports().first().copied().unwrap_or(5432);
                let found = tokio::time::timeout(ADDRESS_TIMEOUT, lookup_host((&**name, port))).await;
                let on_address = |address: SocketAddr| {
                    let mut on_address = host.clone();
                    on_address.hostaddr(address.ip());
                    on_address
                };
                addresses.extend(found.into_iter().flatten().flatten().map(on_address));
            }
            if addresses.len() == before {
                addresses.push(host.clone());
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

/// Returns the configuration for each host of a database.
fn on_each_host(all: &Config) -> Vec<Config> {
    let (hosts, addresses, ports) = (all.get_hosts(), all.get_hostaddrs(), all.get_ports());
    let count = hosts.len().max(addresses.len());
    let are_pairs = hosts.is_empty() || addresses.is_empty() || hosts.len() == addresses.len();
    if count < 2 || !are_pairs || (ports.len() > 1 && ports.len() != count) {
        // If it is wrong, the driver says so.
        return vec![all.clone()];
    }
    let on_host = |index: usize| {
        let mut one = without_hosts(all);
        match hosts.get(index) {
            Some(Host::Tcp(host)) => {
                one.host(host);
            }
            #[cfg(unix)]
            Some(Host::Unix(path)) => {
                one.host_path(path);
            }
            None => {}
        }
        if let Some(&address) = addresses.get(index) {
            one.hostaddr(address);
        }
        if let Some(&port) = ports.get(index).or(ports.first()) {
            one.port(port);
        }
        one
    };
    (0..count).map(on_host).collect()
}

/// Returns a configuration without its hosts, which the driver cannot remove.
fn without_hosts(all: &Config) -> Config {
    let mut one = Config::new();
    if let Some(user) = all.get_user() {
        one.user(user);
    }
    if let Some(password) = all.get_password() {
        one.password(password);
    }
    if let Some(name) = all.get_dbname() {
        one.dbname(name);
    }
    if let Some(options) = all.get_options() {
        one.options(options);
    }
    if let Some(name) = all.get_application_name() {
        one.application_name(name);
    }
    if let Some(&timeout) = all.get_tcp_user_timeout() {
        one.tcp_user_timeout(timeout);
    }
    one.ssl_mode(all.get_ssl_mode())
        .ssl_negotiation(all.get_ssl_negotiation())
        .target_session_attrs(all.get_target_session_attrs())
        .channel_binding(all.get_channel_binding());
    keep_alive(&mut one);
    one
}

fn keep_alive(config: &mut Config) {
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

    fn hosts(url: &str) -> Vec<Config> {
        on_each_host(&url.parse().unwrap())
    }

    #[test]
    fn each_host_has_all_settings_of_the_url() {
        let url = "postgres://ada:pw@one:1,two:2/app?target_session_attrs=read-write&options=-cx%3Dy&application_name=me\
                   &channel_binding=disable&tcp_user_timeout=7";
        let expected = ["postgres://ada:pw@one:1/", "postgres://ada:pw@two:2/"].map(|start| {
            let (_, settings) = url.split_once("/app").unwrap();
            let mut config: Config = format!("{start}app{settings}").parse().unwrap();
            keep_alive(&mut config);
            config
        });
        assert_eq!(hosts(url), expected);
        assert_eq!(hosts("host=a,b hostaddr=10.0.0.1,10.0.0.2 port=7 user=ada")[1].get_ports(), [7]);
        assert_eq!(hosts("host=a,b port=1,2,3 user=ada").len(), 1, "the driver refuses it");
    }

    #[test]
    fn the_addresses_share_the_time() {
        assert_eq!([1, 2, 3, 9].map(|count| share(count).as_secs()), [9, 3, 3, 1]);
    }
}
