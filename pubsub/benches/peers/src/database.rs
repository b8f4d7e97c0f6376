//! The server, and the database of one turn.

use anyhow::{Context, Result, ensure};
use pubsub::testing::{Options, Server};
use std::time::{Duration, Instant};
use tokio_postgres::{Client, NoTls};

/// Starts a server on which a commit is on the disk when it returns.
///
/// It allows no checkpoint but the benchmark's own. After a checkpoint, the first change of every page writes the whole page to
/// the WAL, which would count against the contender that is measured then.
pub(crate) fn server() -> Result<Server> {
    let settings = [
        ("checkpoint_timeout", "1d"),
        ("max_wal_size", "16GB"),
        ("max_connections", "300"),
        ("synchronous_commit", "on"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Ok(Server::start_with(Options { fsync: true, settings, ..Options::default() })?)
}

/// The rows that handlers update.
const TOUCHED: &str =
    "create table touched (id bigint primary key, times int not null default 0) with (fillfactor = 50)";

/// The wait between two looks for unsettled events. It bounds how much too long a drain may seem.
const LOOK: Duration = Duration::from_millis(2);

/// A database, which is dropped at the end.
pub(crate) struct Database {
    pub(crate) url: String,
    name: String,
    admin: Client,
    client: Client,
}

impl Database {
    pub(crate) async fn create(server: &Server, name: &str) -> Result<Self> {
        let admin = connect(&server.url("postgres")).await?;
        admin.batch_execute(&format!("create database {name}")).await?;
        let url = server.url(name);
        let client = connect(&url).await?;
        Ok(Self { url, name: name.to_owned(), admin, client })
    }

    /// Creates the rows that handlers update.
    pub(crate) async fn create_touched(&self, events: u64) -> Result<()> {
        self.client.batch_execute(TOUCHED).await?;
        let rows = "insert into touched (id) select n from generate_series(0, $1::bigint - 1) n";
        self.client.execute(rows, &[&(events as i64)]).await?;
        Ok(())
    }

    /// Checks that each row was updated, and returns by how many updates too many.
    pub(crate) async fn updated_too_often(&self) -> Result<u64> {
        let sql = "select count(*) filter (where times = 0), coalesce(sum(times - 1) filter (where times > 1), 0) from touched";
        let row = self.client.query_one(sql, &[]).await?;
        let missed: i64 = row.get(0);
        ensure!(missed == 0, "{missed} rows were not updated");
        Ok(row.get::<_, i64>(1) as u64)
    }

    pub(crate) async fn count(&self, sql: &str) -> Result<u64> {
        let row = self.client.query_one(sql, &[]).await.with_context(|| format!("cannot run {sql}"))?;
        Ok(row.try_get::<_, i64>(0)? as u64)
    }

    /// Lets the server finish what the loading has left to do.
    pub(crate) async fn settle_down(&self) -> Result<()> {
        for command in ["vacuum analyze", "checkpoint"] {
            self.client.batch_execute(command).await?;
        }
        Ok(())
    }

    /// Waits until a count is zero.
    pub(crate) async fn until_none(&self, sql: &str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            let left = self.count(sql).await?;
            if left == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < limit, "{left} are not settled after {} s", limit.as_secs());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A setting or another fact of the server.
    pub(crate) async fn show(&self, what: &str) -> Result<String> {
        Ok(self.client.query_one(&format!("show {what}"), &[]).await?.get(0))
    }

    pub(crate) async fn drop(self) -> Result<()> {
        drop(self.client);
        self.admin.batch_execute(&format!("drop database {} with (force)", self.name)).await?;
        Ok(())
    }
}

pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
