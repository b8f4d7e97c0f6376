//! The database to connect to.

use super::addresses::{Addresses, Host, keep_alive};
use super::parameters::Parameters;
use super::through::Through;
use super::tls::TlsSettings;
use crate::error::{Error, invalid_url};
use futures_util::future::BoxFuture;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs};

/// A database to connect to: its servers, and how to be trusted there.
///
/// It is read from a `postgres://` URL or a libpq connection string. Every function that takes a target takes such a text too, so a
/// value of this type is only needed for what a text cannot say: a [password that expires](Self::password_provider),
/// [TLS settings of your own](Self::tls), or the server [behind a pooler](Self::direct). Clones share what they learn about which host
/// answers. [`connect`](Self::connect) and [`pool`](Self::pool) connect to tables of your own.
///
/// # Parameters
/// They have libpq's names and meanings; others are refused by name. Nothing is read from libpq's environment and files: no
/// `PGPASSWORD`, no password file, no service file, no certificates in the home directory.
/// - `host`, `hostaddr`, `port`: one or several servers, separated by commas. They are tried in order, or in a random one with
///   `load_balance_hosts=random`, and one that is silent costs its share of the 9 s for connecting. `connect_timeout` makes the
///   share of each smaller. A host that begins with `/` is the directory of a socket.
/// - `target_session_attrs`: `any`, `read-write` (also `primary`) or `read-only`.
/// - `user`, `password`, `dbname`, `options`, `application_name`, `tcp_user_timeout`, `keepalives`, `keepalives_idle`,
///   `keepalives_interval`, `keepalives_count`. A dead peer is noticed after 11 s unless the keepalives are set.
/// - `sslmode`: `disable`, `prefer`, `require`, `verify-ca` or `verify-full`. Without it, sockets are plain, a server on a loopback
///   address gets `prefer`, and every other server is verified in full.
/// - `sslrootcert`: a file with the certificates of the authorities to trust, or `system`, the default, for those of this machine.
/// - `sslcert` and `sslkey`: files with this client's certificate and its key, in PEM. All files are read again for each connection.
/// - `channel_binding`: `disable`, `prefer` or `require`; `sslnegotiation`: `postgres` or `direct`.
///
/// # Examples
/// ```no_run
/// use pubsub::{PubSub, Target};
///
/// # async fn token() -> Result<String, std::io::Error> { Ok(String::new()) }
/// # async fn example() -> Result<(), pubsub::Error> {
/// let shop = Target::parse("postgres://app@db.example/shop?sslrootcert=ca.pem")?.password_provider(token);
/// pubsub::migrate(&shop).await?;
/// let pubsub = PubSub::builder(&shop).start().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Target {
    #[cfg(feature = "testing")]
    text: Arc<str>,
    pub(super) addresses: Addresses,
    pub(super) tls: TlsSettings,
    pub(super) password_provider: Option<PasswordProvider>,
    /// The server itself, where the target is a pooler.
    direct: Option<Arc<Self>>,
    /// Whether connections were proved to be sessions.
    pub(super) proved: Arc<AtomicBool>,
}

/// Returns the password for one new connection.
pub(super) type PasswordProvider =
    Arc<dyn Fn() -> BoxFuture<'static, Result<String, PasswordError>> + Send + Sync>;

type PasswordError = Box<dyn std::error::Error + Send + Sync>;

impl Target {
    /// Reads a `postgres://` URL or a libpq connection string.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] if it cannot be read, has an unknown parameter, or asks for what contradicts itself.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let parameters = Parameters::read(text)?;
        let tls = TlsSettings::read(&parameters)?;
        let hosts = hosts(&parameters)?;
        for host in &hosts {
            tls.check(host)?;
        }
        let shuffled = parameters.choice("load_balance_hosts", LOAD_BALANCE_HOSTS)?;
        let limit = parameters.positive::<i64>("connect_timeout")?;
        let limit = limit.map(|limit| Duration::from_secs(limit.unsigned_abs()));
        Ok(Self {
            #[cfg(feature = "testing")]
            text: text.into(),
            addresses: Addresses::new(hosts, limit, shuffled == Some(LoadBalanceHosts::Random)),
            tls,
            password_provider: None,
            direct: None,
            proved: Arc::default(),
        })
    }

    /// Sets where the password comes from. It is asked for each new connection, so that the password may expire, as the tokens of
    /// cloud providers do. It has the 9 s of the connection, and must not block the thread, which the heartbeat may need. A
    /// password in the text is not used. If it panics, there is no connection.
    ///
    /// # Examples
    /// ```
    /// use pubsub::Target;
    ///
    /// # fn example() -> Result<(), pubsub::Error> {
    /// let target = Target::parse("postgres://app@db.example/shop")?
    ///     .password_provider(|| async {
    ///         std::fs::read_to_string("/run/secrets/token").map(|token| token.trim_end().to_owned())
    ///     });
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn password_provider<P, F, E>(mut self, provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<String, E>> + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.password_provider = Some(Arc::new(move || {
            let password = provider();
            Box::pin(async move { password.await.map_err(Into::into) })
        }));
        self
    }

    /// Sets the configuration of TLS, in place of `sslrootcert`, `sslcert` and `sslkey`, which the text must not have then. It
    /// decides whether a server is trusted. `sslmode` still decides whether TLS is used: always, except on sockets, unless it is
    /// `disable`.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] if the text names certificates, or has `sslmode=prefer`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, config: rustls::ClientConfig) -> Result<Self, Error> {
        self.tls = self.tls.with_config(config)?;
        Ok(self)
    }

    /// Names the server itself, if this target is a pooler in transaction mode, such as PgBouncer.
    ///
    /// A process then has two sessions past the pooler, one to beat and one to listen, and at times a third one. They have all that
    /// needs a session: migrations, and the removal of partitions. Everything else goes through the pooler, in transactions that
    /// leave nothing behind: no prepared statement, no setting, no lock.
    ///
    /// # Errors
    /// [`Error::InvalidUrl`] if the text cannot be read.
    ///
    /// # Examples
    /// ```no_run
    /// use pubsub::{PubSub, Target};
    ///
    /// # async fn example() -> Result<(), pubsub::Error> {
    /// let shop = Target::parse("postgres://app@pooler.example:6432/shop")?.direct("postgres://app@db.example/shop")?;
    /// pubsub::migrate(&shop).await?;
    /// let pubsub = PubSub::builder(&shop).start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn direct(mut self, server: impl TryInto<Self, Error: Into<Error>>) -> Result<Self, Error> {
        self.direct = Some(Arc::new(server.try_into().map_err(Into::into)?));
        self.proved = Arc::default();
        Ok(self)
    }

    /// Returns the target of the sessions.
    pub(super) fn of_sessions(&self) -> &Self {
        self.direct.as_deref().unwrap_or(self)
    }

    /// Returns what the connections of the pool are.
    pub(super) fn through(&self) -> Through {
        if self.direct.is_some() { Through::Pooler } else { Through::Session }
    }

    /// Returns the text that was parsed.
    #[cfg(feature = "testing")]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the driver's configuration for the first host.
    #[cfg(all(test, feature = "testing"))]
    pub(crate) fn config(&self) -> &Config {
        self.addresses.first_config()
    }

    /// Returns another database on the same servers. `text` is the text of both.
    #[cfg(feature = "testing")]
    pub(crate) fn with_database(&self, name: &str, text: &str) -> Self {
        let mut target = self.clone();
        target.text = text.into();
        target.addresses = target.addresses.map(|config| {
            config.dbname(name);
        });
        target.direct = target.direct.map(|direct| Arc::new(direct.with_database(name, text)));
        target.proved = Arc::default();
        target
    }
}

/// Shows only the servers, because the text may have a password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("servers", &self.addresses.servers()).finish_non_exhaustive()
    }
}

/// A target is a target already.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

impl From<&Self> for Target {
    fn from(target: &Self) -> Self {
        target.clone()
    }
}

impl TryFrom<&str> for Target {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<&String> for Target {
    type Error = Error;

    fn try_from(text: &String) -> Result<Self, Error> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Target {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::parse(&text)
    }
}

const LOAD_BALANCE_HOSTS: &[(&str, LoadBalanceHosts)] =
    &[("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)];

const SESSION_ATTRS: &[(&str, TargetSessionAttrs)] = &[
    ("any", TargetSessionAttrs::Any),
    ("read-write", TargetSessionAttrs::ReadWrite),
    ("primary", TargetSessionAttrs::ReadWrite),
    ("read-only", TargetSessionAttrs::ReadOnly),
];

const CHANNEL_BINDING: &[(&str, ChannelBinding)] = &[
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

const SSL_NEGOTIATION: &[(&str, SslNegotiation)] =
    &[("postgres", SslNegotiation::Postgres), ("direct", SslNegotiation::Direct)];

/// Returns the database on each of its hosts.
fn hosts(parameters: &Parameters) -> Result<Vec<Host>, Error> {
    let [names, addresses, ports] = ["host", "hostaddr", "port"].map(|name| parameters.list(name));
    let (names, addresses, ports) = (names?, addresses?, ports?);
    let count = names.len().max(addresses.len());
    if count == 0 {
        return Err(invalid_url("it names no host: write one, or the directory of the server's socket"));
    }
    for (name, values) in [("host", &names), ("hostaddr", &addresses)] {
        if !values.is_empty() && values.len() != count {
            return Err(invalid_url(format!("`{name}` has {} values for {count} hosts", values.len())));
        }
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(invalid_url(format!("there are {} ports for {count} hosts", ports.len())));
    }
    let database = database(parameters)?;
    let of = |values: &[&str], index: usize| values.get(index).map(|value| value.trim().to_owned());
    let host = |index: usize| {
        let port = of(&ports, index).or_else(|| of(&ports, 0)).filter(|port| !port.is_empty());
        let port = port.map_or(Ok(5432), |port| port.parse().map(NonZeroU16::get));
        let port = port.map_err(|_| invalid_url("a port is not a number from 1 to 65535"))?;
        let address = of(&addresses, index).filter(|address| !address.is_empty());
        let address = address.map(|address| address.parse::<IpAddr>()).transpose();
        let address = address.map_err(|_| invalid_url("`hostaddr` is not an IP address"))?;
        let name = of(&names, index).filter(|name| !name.is_empty());
        // Certificates are for names, and an address is one.
        let name = name.or_else(|| address.map(|address| address.to_string()));
        let name = name.ok_or_else(|| invalid_url("one of its hosts is empty"))?;
        // Hosts are shown. What is before the `@` would be the end of a password.
        if name.contains('@') {
            return Err(invalid_url(
                "a host has an `@`: write those in the user and in the password as `%40`",
            ));
        }
        Ok(Host::new(&database, name, address, port))
    };
    (0..count).map(host).collect()
}

/// Returns the driver's configuration without a host.
fn database(parameters: &Parameters) -> Result<Config, Error> {
    let mut config = Config::new();
    keep_alive(&mut config);
    config.application_name(parameters.text("application_name")?.unwrap_or("pubsub"));
    if let Some(user) = parameters.text("user")? {
        config.user(user);
    }
    if let Some(password) = parameters.bytes("password") {
        config.password(password);
    }
    if let Some(name) = parameters.text("dbname")? {
        config.dbname(name);
    }
    if let Some(options) = parameters.text("options")? {
        config.options(options);
    }
    if let Some(attributes) = parameters.choice("target_session_attrs", SESSION_ATTRS)? {
        config.target_session_attrs(attributes);
    }
    if let Some(binding) = parameters.choice("channel_binding", CHANNEL_BINDING)? {
        config.channel_binding(binding);
    }
    if let Some(negotiation) = parameters.choice("sslnegotiation", SSL_NEGOTIATION)? {
        config.ssl_negotiation(negotiation);
    }
    if let Some(timeout) = parameters.positive("tcp_user_timeout")? {
        config.tcp_user_timeout(Duration::from_millis(timeout));
    }
    if let Some(alive) = parameters.choice("keepalives", &[("0", false), ("1", true)])? {
        config.keepalives(alive);
    }
    if let Some(idle) = parameters.positive("keepalives_idle")? {
        config.keepalives_idle(Duration::from_secs(idle));
    }
    if let Some(interval) = parameters.positive("keepalives_interval")? {
        config.keepalives_interval(Duration::from_secs(interval));
    }
    if let Some(count) = parameters.positive("keepalives_count")? {
        config.keepalives_retries(count);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configs(text: &str) -> Vec<Config> {
        let parameters = Parameters::read(text).unwrap();
        hosts(&parameters).unwrap().into_iter().map(|host| host.config).collect()
    }

    #[test]
    fn each_host_has_all_settings_of_the_target() {
        let url = "postgres://ada:pw@one:1,two/app?target_session_attrs=read-write&options=-cx%3Dy&application_name=me\
                   &channel_binding=disable&tcp_user_timeout=7000&keepalives_count=9&keepalives_idle=8&keepalives_interval=6";
        let expected = [("one", 1), ("two", 5432)].map(|(host, port)| {
            let mut config = Config::new();
            keep_alive(&mut config);
            config.user("ada").password("pw").dbname("app").host(host).port(port).options("-cx=y");
            config.application_name("me").target_session_attrs(TargetSessionAttrs::ReadWrite);
            config.channel_binding(ChannelBinding::Disable).tcp_user_timeout(Duration::from_secs(7));
            config.keepalives_retries(9).keepalives_idle(Duration::from_secs(8));
            config.keepalives_interval(Duration::from_secs(6));
            config
        });
        assert_eq!(configs(url), expected);
    }

    #[test]
    fn hosts_and_addresses_go_together() {
        let both = configs("host=a,b hostaddr=10.0.0.1,::1 port=7");
        assert_eq!([both[0].get_ports(), both[1].get_ports()], [[7], [7]]);
        assert_eq!(both[1].get_hostaddrs(), ["::1".parse::<IpAddr>().unwrap()]);
        // The name of a server without a name is its address.
        assert_eq!(configs("hostaddr=10.0.0.1"), configs("host=10.0.0.1 hostaddr=10.0.0.1"));
        assert_eq!(configs("postgres://a,b")[1].get_application_name(), Some("pubsub"));
    }
}
