//! Where the shop keeps its data: a throwaway server, or the database of `DATABASE_URL`.

use crate::{Failed, screen};
use deadpool_postgres::{Manager, Pool};
use pubsub::testing::Server;
use tokio_postgres::{Client, Config, NoTls};

/// Connections of each HTTP worker.
const CONNECTIONS: usize = 4;

/// A database with the schemas `pubsub` and `quickstart`.
#[derive(Debug)]
pub(crate) struct Home {
    url: String,
    config: Config,
    /// Ours, if we had to start one: it goes with this value.
    _server: Option<Server>,
}

/// Finds or starts a server, and creates what is missing in its database.
pub(crate) async fn prepare() -> Result<Home, Failed> {
    let home = match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => {
            screen::say(
                "database",
                "the one of DATABASE_URL; only its schemas pubsub and quickstart are touched",
            );
            Home { config: url.parse()?, url, _server: None }
        }
        _ => {
            let server = tokio::task::spawn_blocking(Server::start).await??;
            screen::say(
                "database",
                &format!("PostgreSQL {}, started for this run, then deleted", server.version()),
            );
            let url = server.url("postgres");
            Home { config: url.parse()?, url, _server: Some(server) }
        }
    };
    pubsub::migrate(&home.url).await?;
    home.connect().await?.batch_execute(include_str!("schema.sql")).await?;
    Ok(home)
}

impl Home {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The URL for people at a prompt: `db_events` needs no `pubsub.` in front of it.
    pub(crate) fn url_for_psql(&self) -> String {
        match self.url.split_once("://") {
            // The keyword notation, `host=… dbname=…`.
            None => format!("{} options=-csearch_path=pubsub", self.url),
            Some((_, rest)) => {
                let separator = if rest.contains('?') { '&' } else { '?' };
                format!("{}{separator}options=-csearch_path%3Dpubsub", self.url)
            }
        }
    }

    /// Makes a pool for each HTTP worker: a connection dies with the thread that opened it.
    pub(crate) fn pools(&self) -> impl Fn() -> Pool + Clone + Send + 'static + use<> {
        let config = self.config.clone();
        move || {
            let manager = Manager::new(config.clone(), NoTls);
            let pool = Pool::builder(manager).max_size(CONNECTIONS).build();
            pool.expect("a pool without timeouts needs no runtime to build")
        }
    }

    /// A connection outside the pools.
    pub(crate) async fn connect(&self) -> Result<Client, Failed> {
        connect(&self.url).await
    }

    /// The connection that somebody with `psql` would have.
    pub(crate) async fn connect_as_psql(&self) -> Result<Client, Failed> {
        connect(&self.url_for_psql()).await
    }
}

async fn connect(url: &str) -> Result<Client, Failed> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends when the client is dropped; an error before that is seen by the client's own calls.
    actix_web::rt::spawn(connection);
    Ok(client)
}
