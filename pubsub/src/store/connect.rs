//! Opening connections.

use crate::error::Error;
use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod};
use futures_util::future::try_join;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

/// The longest wait for the socket of a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The idle time before a silent connection is probed, the interval of the probes, and the number of lost probes that end it. A
/// dead peer is noticed after about 11 s, where the system's default is more than two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

/// The longest run of a statement, and the longest wait for a lock, in an ordinary session. The server's own deadlines end a
/// statement that nobody waits for any more, and release a lock that a dead process holds.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of times that a session's settings are sent. Until they are in force, the role's own apply, and a short
/// `statement_timeout` of the role can end the statement that sends them.
const SETTINGS_ATTEMPTS: u32 = 20;

/// The settings of every session. PostgreSQL knows the last two since versions 14 and 17.
const SESSION_SETTINGS: &str = "
    set idle_in_transaction_session_timeout = '10s';
    set default_transaction_isolation = 'read committed';
    select set_config(name, '0', false)
      from (values ('idle_session_timeout'), ('transaction_timeout')) settings (name)
     where current_setting(name, true) is not null";

/// A database to connect to.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    config: Config,
}

impl Target {
    /// Reads a URL or a libpq connection string.
    pub(crate) fn parse(database_url: &str) -> Result<Self, Error> {
        let mut config: Config = database_url.parse().map_err(Error::InvalidUrl)?;
        config.connect_timeout(CONNECT_TIMEOUT);
        config.keepalives(true);
        config.keepalives_idle(KEEPALIVE_IDLE);
        config.keepalives_interval(KEEPALIVE_INTERVAL);
        config.keepalives_retries(KEEPALIVE_RETRIES);
        if config.get_application_name().is_none() {
            config.application_name("pubsub");
        }
        Ok(Self { config })
    }

    /// Returns a pool of up to `connections`, which are opened when needed. Their sockets live on the runtime behind `home`,
    /// because a connection ends with the runtime that opened it.
    pub(super) fn pool(&self, home: &Handle, connections: usize) -> Pool {
        let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(self.config.clone(), AtHome(home.clone()), recycling);
        let pool = Pool::builder(manager).max_size(connections).build();
        pool.expect("a pool without timeouts needs no runtime to build")
    }

    /// Opens a separate connection. Returns its client, and the half that must be polled.
    pub(super) async fn connect(&self) -> Result<(Client, Connection), Error> {
        open(&self.config, STATEMENT_TIMEOUT, LOCK_TIMEOUT).await.map_err(Error::Connect)
    }

    /// Opens a separate connection whose statements may run, and wait for locks, for as long as `limit`.
    pub(super) async fn connect_for(&self, limit: Duration) -> Result<(Client, Connection), Error> {
        open(&self.config, limit, limit).await.map_err(Error::Connect)
    }
}

/// Opens a connection with the settings of this library, whatever the role, the database or the server sets.
async fn open(
    config: &Config,
    statement: Duration,
    lock: Duration,
) -> Result<(Client, Connection), tokio_postgres::Error> {
    let (client, mut connection) = config.connect(NoTls).await?;
    let limits = [("statement_timeout", statement), ("lock_timeout", lock)];
    let limits = limits.map(|(name, limit)| format!("set {name} = {}", limit.as_millis()));
    {
        let set = set(&client, &limits);
        tokio::pin!(set);
        tokio::select! {
            done = &mut set => done?,
            // The connection works only while it is polled. After its end, no statement has an answer.
            ended = &mut connection => {
                ended?;
                set.await?;
            }
        }
    }
    Ok((client, connection))
}

/// Sends a session's settings, all at once. The limit of the statements comes first and alone, because a limit holds from the
/// next message on.
async fn set(client: &Client, [statement, lock]: &[String; 2]) -> Result<(), tokio_postgres::Error> {
    let rest = format!("{lock}; {SESSION_SETTINGS}");
    let mut attempts = 1;
    loop {
        match try_join(client.batch_execute(statement), client.batch_execute(&rest)).await {
            Err(error) if error.code() == Some(&SqlState::QUERY_CANCELED) && attempts < SETTINGS_ATTEMPTS => {
                attempts += 1;
            }
            done => return done.map(drop),
        }
    }
}

/// The half of a connection that reads and writes the socket.
pub(super) type Connection =
    tokio_postgres::Connection<tokio_postgres::Socket, tokio_postgres::tls::NoTlsStream>;

/// Opens the pool's connections on one runtime.
struct AtHome(Handle);

impl Connect for AtHome {
    fn connect(
        &self,
        config: &Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + '_>>
    {
        let config = config.clone();
        Box::pin(async move {
            let (answer, opened) = tokio::sync::oneshot::channel();
            let task = self.0.spawn(async move {
                match open(&config, STATEMENT_TIMEOUT, LOCK_TIMEOUT).await {
                    Ok((client, connection)) => {
                        if answer.send(Ok(client)).is_ok()
                            && let Err(error) = connection.await
                        {
                            tracing::debug!(error = %crate::error::error_chain(&error), "a connection ended");
                        }
                    }
                    Err(error) => drop(answer.send(Err(error))),
                }
            });
            // A runtime that is shutting down drops the task without an answer. Then the caller's deadline ends the wait.
            let Ok(opened) = opened.await else { std::future::pending().await };
            Ok((opened?, task))
        })
    }
}
