//! Connections for the application's own tables.

use super::connect::{Connection, drive};
use super::target::Target;
use crate::error::Error;
use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};

impl Target {
    /// Connects for tables of your own. [`publish`](crate::publish) takes the client and its transactions.
    ///
    /// The connection has the role's settings, lives on the current Tokio runtime, and ends when the client is dropped.
    ///
    /// # Errors
    /// A connection error, after at most 9 s: [`Error::Connect`], [`Error::Tls`] or [`Error::Password`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let shop = pubsub::Target::parse("postgres://app@db.example/shop")?;
    /// let client = shop.connect().await?;
    /// let users = client.query("select name from users", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn connect(&self) -> Result<Client, Error> {
        let (client, connection) = self.connect_plain().await?;
        tokio::spawn(drive(connection));
        Ok(client)
    }

    /// Returns a pool of up to `connections` for tables of your own, at least one. They are like those of [`connect`](Self::connect),
    /// and each lives on the Tokio runtime that first asks for it. With actix-web, each worker therefore makes a pool of its own.
    ///
    /// An error of [`connect`](Self::connect) is one of the pool, with the same text in its sources.
    ///
    /// # Examples
    /// ```no_run
    /// # use pubsub::{Channel, Target, publish};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Serialize, Deserialize, Channel)]
    /// # #[channel("sms")]
    /// # struct Sms { msg: String }
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Target::parse("postgres://app@db.example/shop")?.pool(4);
    /// let mut client = pool.get().await?;
    /// let transaction = client.transaction().await?;
    /// transaction.execute("insert into users (name) values ('Ada')", &[]).await?;
    /// publish(&transaction, &Sms { msg: "Welcome, Ada!".into() }).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn pool(&self, connections: usize) -> Pool {
        let manager =
            Manager::from_connect(Config::new(), Connecting(self.clone()), ManagerConfig::default());
        let pool = Pool::builder(manager).max_size(connections.max(1)).build();
        pool.expect("a pool without timeouts needs no runtime to build")
    }
}

/// Connects a pool of the driver to a target.
struct Connecting(Target);

impl Connect for Connecting {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), tokio_postgres::Error>> {
        let connected =
            |(client, connection): (Client, Connection)| (client, tokio::spawn(drive(connection)));
        async move {
            match self.0.connect_plain().await {
                Ok(opened) => Ok(connected(opened)),
                Err(error) => Err(of_driver(error).await),
            }
        }
        .boxed()
    }
}

/// Returns an error as one of the driver, which can be made of nothing but a broken connection.
async fn of_driver(error: Error) -> tokio_postgres::Error {
    let broken = Broken(Some(io::Error::other(error)));
    let connecting = Config::new().user("nobody").ssl_mode(SslMode::Disable).connect_raw(broken, NoTls).await;
    connecting.err().expect("nobody can connect over it")
}

/// A connection that has broken with this error.
struct Broken(Option<io::Error>);

impl Broken {
    fn error(&mut self) -> io::Error {
        self.0.take().unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    }
}

impl AsyncRead for Broken {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(self.error()))
    }
}

impl AsyncWrite for Broken {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(self.error()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
