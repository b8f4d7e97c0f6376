//! Opening connections.

use crate::error::Error;
use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

/// The longest wait for the socket of a new connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The idle time before a silent connection is probed, the interval of the probes, and the number of lost probes that end it. A
/// dead peer is noticed after about 11 s, where the system's default is more than two hours.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

/// The settings of every session of this library. The server's own deadlines end a statement that nobody waits for any more, and
/// release a lock that a dead process holds.
const SESSION_SETTINGS: &str = "
    set statement_timeout = '15s';
    set lock_timeout = '10s';
    set idle_in_transaction_session_timeout = '10s';
    set default_transaction_isolation = 'read committed'";

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
        self.config.connect(NoTls).await.map_err(Error::Connect)
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
                match config.connect(NoTls).await {
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
            let client = opened?;
            client.batch_execute(SESSION_SETTINGS).await?;
            Ok((client, task))
        })
    }
}
