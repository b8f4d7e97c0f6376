//! Opening connections.

use super::addresses::{CONNECT_TIMEOUT, Host};
use super::target::{PasswordProvider, Target};
use super::through::Through;
use super::tls::{Connector, SslMode, TlsSettings, is_of_handshake, plain_connector};
use crate::error::{Error, error_chain};
use deadpool::managed::{Manager, Metrics, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use futures_util::FutureExt;
use futures_util::future::try_join;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Socket};

/// The longest run of a statement, and the longest wait for a lock, in an ordinary session. The server's own deadlines end a
/// statement that nobody waits for any more, and release a lock that a dead process holds.
pub(super) const STATEMENT_TIMEOUT: Duration = Duration::from_secs(15);
pub(super) const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

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

impl Target {
    /// Returns a pool of up to `connections`, which are opened when needed. Their sockets live on the runtime behind `runtime`,
    /// because a connection ends with the runtime that opened it.
    pub(super) fn own_pool(&self, runtime: &Handle, connections: usize, through: Through) -> Pool {
        let manager = OnRuntime { runtime: runtime.clone(), target: self.clone(), through };
        let pool = Pool::builder(manager).max_size(connections).build();
        pool.expect("a pool without timeouts needs no runtime to build")
    }

    /// Opens a session, past the pooler if there is one. Returns its client, and the half that must be polled.
    pub(super) async fn connect_session(&self) -> Result<(Client, Connection), Error> {
        self.prove_session().await?;
        self.of_sessions().open(Some([STATEMENT_TIMEOUT, LOCK_TIMEOUT])).await
    }

    /// Opens a session, past the pooler if there is one, whose statements may run, and wait for locks, for as long as `limit`.
    pub(super) async fn connect_for(&self, limit: Duration) -> Result<(Client, Connection), Error> {
        self.prove_session().await?;
        self.of_sessions().open(Some([limit; 2])).await
    }

    /// Opens a session of a server that is known to be none behind a pooler.
    #[cfg(feature = "testing")]
    pub(crate) async fn connect_to_server(&self, limit: Duration) -> Result<(Client, Connection), Error> {
        self.open(Some([limit; 2])).await
    }

    /// Opens a connection without any settings.
    pub(super) async fn connect_plain(&self) -> Result<(Client, Connection), Error> {
        self.open(None).await
    }

    /// Opens a connection, with limits for statements and locks if it is a session of ours.
    async fn open(&self, limits: Option<[Duration; 2]>) -> Result<(Client, Connection), Error> {
        let end = Instant::now() + CONNECT_TIMEOUT;
        let password = match &self.password_provider {
            None => None,
            Some(provider) => Some(ask(provider, end).await?),
        };
        let opening = |mut host: Host| {
            if let Some(password) = &password {
                host.config.password(password);
            }
            open(&self.tls, host, limits)
        };
        self.addresses.try_each(end, opening).await
    }
}

async fn ask(provider: &PasswordProvider, end: Instant) -> Result<String, Error> {
    // A panic would end whoever needs the connection, and its text may have the password.
    let asking = AssertUnwindSafe(async { provider().await }).catch_unwind();
    match tokio::time::timeout_at(end, asking).await {
        Ok(Ok(password)) => password.map_err(Error::Password),
        Ok(Err(_)) => Err(Error::Password("the password provider panicked".into())),
        Err(_) => Err(Error::Password(
            format!("the password provider did not answer within {CONNECT_TIMEOUT:?}").into(),
        )),
    }
}

/// Opens a connection. With limits it has the settings of this library, whatever the role, the database or the server sets.
async fn open(
    tls: &TlsSettings,
    mut host: Host,
    limits: Option<[Duration; 2]>,
) -> Result<(Client, Connection), Error> {
    let mode = tls.mode(host.place);
    host.config.ssl_mode(mode.of_driver());
    let opened = match host.config.connect(tls.connector(&host).await?).await {
        // libpq tries again too. Nothing is lost, for whoever intercepts the connection could also ask for a plain one.
        Err(error) if mode == SslMode::Prefer && is_of_encryption(&error) => {
            host.config.ssl_mode(SslMode::Disable.of_driver()).connect(plain_connector()).await
        }
        opened => opened,
    };
    let refused = |error| tls.refusal(error, &host);
    let (client, mut connection) = opened.map_err(refused)?;
    if let Some([statement, lock]) = limits {
        set_up(&client, &mut connection, statement, lock).await.map_err(refused)?;
    }
    Ok((client, connection))
}

/// Whether a connection could not be encrypted, or `pg_hba.conf` refused it, perhaps because it was.
fn is_of_encryption(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION) || is_of_handshake(error)
}

/// Sends the settings of this library on a connection that nobody polls yet.
async fn set_up(
    client: &Client,
    connection: &mut Connection,
    statement: Duration,
    lock: Duration,
) -> Result<(), tokio_postgres::Error> {
    let limits = [("statement_timeout", statement), ("lock_timeout", lock)];
    let limits = limits.map(|(name, limit)| format!("set {name} = {}", limit.as_millis()));
    let set = set(client, &limits);
    tokio::pin!(set);
    tokio::select! {
        done = &mut set => done,
        // The connection works only while it is polled. After its end, no statement has an answer.
        ended = connection => {
            ended?;
            set.await
        }
    }
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
pub(crate) type Connection =
    tokio_postgres::Connection<Socket, <Connector as MakeTlsConnect<Socket>>::Stream>;

/// Ends the task that polls a connection, and so closes it, when this value is dropped. Otherwise a connection whose server is
/// silent would outlive the caller that has waited long enough for its answer.
#[derive(Debug)]
pub(super) struct Driver(AbortHandle);

impl Driver {
    /// Polls a connection on the current runtime. Returns the task too, which ends with the connection.
    pub(super) fn start(connection: Connection) -> (Self, JoinHandle<()>) {
        Self::spawn(drive(connection))
    }

    /// Runs what polls a connection. Returns the task too.
    pub(super) fn spawn(polling: impl Future<Output = ()> + Send + 'static) -> (Self, JoinHandle<()>) {
        let task = tokio::spawn(polling);
        (Self(task.abort_handle()), task)
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) async fn drive(connection: Connection) {
    if let Err(error) = connection.await {
        tracing::debug!(error = error_chain(&error), "a connection ended");
    }
}

/// A pool of connections that live on one runtime.
pub(super) type Pool = deadpool::managed::Pool<OnRuntime>;

/// Opens the pool's connections on one runtime. The pool's own manager knows no errors but the driver's.
#[derive(Debug)]
pub(super) struct OnRuntime {
    runtime: Handle,
    target: Target,
    through: Through,
}

impl Manager for OnRuntime {
    type Type = ClientWrapper;
    type Error = Error;

    async fn create(&self) -> Result<ClientWrapper, Error> {
        let (target, through) = (self.target.clone(), self.through);
        let (mut answer, opened) = tokio::sync::oneshot::channel();
        let task = self.runtime.spawn(async move {
            let opening = async {
                match through {
                    Through::Session => target.connect_session().await,
                    Through::Pooler => target.connect_plain().await,
                }
            };
            let opened = tokio::select! {
                // Nobody waits for it any more, so the socket is closed.
                () = answer.closed() => return,
                opened = opening => opened,
            };
            match opened {
                Ok((client, connection)) => {
                    if answer.send(Ok(client)).is_ok() {
                        drive(connection).await;
                    }
                }
                Err(error) => drop(answer.send(Err(error))),
            }
        });
        // The runtime is shutting down. Then the caller's deadline ends the wait.
        let Ok(opened) = opened.await else { std::future::pending().await };
        Ok(ClientWrapper::new(opened?, task))
    }

    async fn recycle(&self, client: &mut ClientWrapper, _: &Metrics) -> RecycleResult<Error> {
        if client.is_closed() { Err(RecycleError::message("the connection has ended")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use std::sync::Arc;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    /// Reads until the other end closes, and answers nothing.
    async fn stay_silent(mut socket: TcpStream, open: watch::Sender<usize>) {
        let mut ignored = [0; 1024];
        while socket.read(&mut ignored).await.is_ok_and(|read| read > 0) {}
        open.send_modify(|open| *open -= 1);
    }

    #[tokio::test]
    async fn no_connection_outlives_those_who_wait_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("postgres://ada@{}/app", listener.local_addr().unwrap());
        let (open, mut is_open) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                open.send_modify(|open| *open += 1);
                tokio::spawn(stay_silent(socket, open.clone()));
            }
        });
        let target = Target::parse(&url).unwrap();
        let deadline = Duration::from_millis(50);
        let store = Store::new(&target, &Handle::current(), 4, deadline);
        for _ in 0..5 {
            let failed = store.stop_waiting(1, 1).await.unwrap_err();
            assert!(matches!(failed, Error::Timeout { .. }), "{failed:?}");
            let failed = target.heartbeat_session(deadline).await.err();
            assert!(matches!(failed, Some(Error::Timeout { .. })), "{failed:?}");
        }
        let closed = is_open.wait_for(|open| *open == 0);
        tokio::time::timeout(Duration::from_secs(20), closed).await.expect("every socket is closed").unwrap();
    }

    #[tokio::test]
    async fn a_password_provider_that_panics_is_an_error() {
        async fn late() -> Result<String, std::io::Error> {
            panic!("hunter2")
        }
        let target = Target::parse("postgres://ada@127.0.0.1:1/app").unwrap();
        let early =
            target.clone().password_provider(|| -> std::future::Ready<Result<String, Error>> { panic!() });
        for target in [target.password_provider(late), early] {
            let store = Store::new(&target, &Handle::current(), 1, Duration::from_secs(60));
            for failed in [target.connect_session().await.err(), store.stop_waiting(1, 1).await.err()] {
                let failed = failed.unwrap();
                assert_eq!(failed.code(), "password");
                assert!(format!("{failed:?}").ends_with("the password provider panicked"), "{failed:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_password_provider_that_is_too_slow_is_an_error() {
        let slow: PasswordProvider = Arc::new(|| Box::pin(std::future::pending()));
        let failed = ask(&slow, Instant::now()).await.unwrap_err();
        assert_eq!((failed.code(), failed.is_retryable()), ("password", true));
        assert!(
            format!("{failed:?}").ends_with("the password provider did not answer within 9s"),
            "{failed:?}"
        );
    }

    #[test]
    fn no_debug_output_has_the_password() {
        let target = Target::parse("postgres://ada:hunter2@localhost/app").unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = Store::new(&target, runtime.handle(), 1, Duration::from_secs(1));
        let shown = format!(
            "{target:?} {store:?} {:?}",
            crate::PubSub::builder("postgres://ada:hunter2@localhost/app")
        );
        assert!(!shown.contains("hunter2") && shown.contains("Target"), "{shown}");
    }
}
