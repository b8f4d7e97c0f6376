//! The shop's database: on a throwaway server, or the one of `DATABASE_URL`. If that is a pooler in transaction mode,
//! `DIRECT_DATABASE_URL` is the server itself.

use crate::failed::Failed;
use crate::screen;
use deadpool_postgres::Pool;
use pubsub::Target;
use pubsub::testing::server_url;
use tokio_postgres::Client;

/// Connections of each HTTP worker.
const CONNECTIONS: usize = 4;

/// A database with the schemas `pubsub` and `quickstart`.
pub(crate) struct Database {
    /// The URL of the server itself.
    url: String,
    target: Target,
    /// Whether the server ends with this process.
    is_throwaway: bool,
}

/// Finds or starts a server, and creates the schemas that are missing.
pub(crate) async fn prepare() -> Result<Database, Failed> {
    let database = match std::env::var("DATABASE_URL") {
        Ok(url) if !url.is_empty() => {
            screen::say(
                "database",
                "the one of DATABASE_URL; only its schemas pubsub and quickstart are touched",
            );
            let target = Target::parse(&url)?;
            match std::env::var("DIRECT_DATABASE_URL") {
                Ok(direct) => Database { target: target.direct(&direct)?, url: direct, is_throwaway: false },
                Err(_) => Database { target, url, is_throwaway: false },
            }
        }
        _ => {
            let url = server_url().await?;
            let target = Target::parse(&url)?;
            let version = "select split_part(current_setting('server_version'), ' ', 1)";
            let version: String = target.connect().await?.query_one(version, &[]).await?.get(0);
            screen::say("database", &format!("PostgreSQL {version}, started for this run, then deleted"));
            Database { target, url, is_throwaway: true }
        }
    };
    pubsub::migrate(&database.target).await?;
    database.connect().await?.batch_execute(include_str!("schema.sql")).await?;
    Ok(database)
}

impl Database {
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The shell words that open psql with a search path that makes `db_events` known without `pubsub.`. The URL of the environment
    /// is not printed, because it may have a password.
    pub(crate) fn psql(&self) -> String {
        if self.is_throwaway {
            format!("psql '{}'", self.url_for_psql())
        } else {
            r#"PGOPTIONS=-csearch_path=pubsub psql "$DATABASE_URL""#.to_owned()
        }
    }

    /// The URL for psql, with that search path.
    fn url_for_psql(&self) -> String {
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
        let target = self.target.clone();
        move || target.pool(CONNECTIONS)
    }

    /// A connection outside the pools.
    pub(crate) async fn connect(&self) -> Result<Client, Failed> {
        Ok(self.target.connect().await?)
    }

    /// A connection like that of psql.
    pub(crate) async fn connect_as_psql(&self) -> Result<Client, Failed> {
        Ok(Target::parse(&self.url_for_psql())?.connect().await?)
    }
}
