//! The floor: a table with the log's columns and indexes, and prepared statements. It has no trigger, and wakes nobody.

use crate::contender::{Contender, Program};
use crate::database::connect;
use crate::job::Job;
use crate::library::{Library, Publisher, Stop};
use crate::order::Order;
use crate::workload::Workload;
use anyhow::{Result, bail};
use async_trait::async_trait;
use futures_util::future::try_join_all;
use tokio_postgres::{Client, Statement};

const IT_IS_A_TABLE: &str = "a table has no handlers";
const COUNT: &str = "select count(*) from bare";

pub(super) const CONTENDER: Contender = Contender {
    name: "bare insert",
    program: Program::Rust(&Bare),
    published: COUNT,
    unsettled: COUNT,
    refuses: &[
        (Workload::Latency100, IT_IS_A_TABLE),
        (Workload::Latency2000, IT_IS_A_TABLE),
        (Workload::Latency5000, IT_IS_A_TABLE),
        (Workload::Drain, IT_IS_A_TABLE),
        (Workload::FanOut, IT_IS_A_TABLE),
        (Workload::Update, IT_IS_A_TABLE),
        (Workload::UpdateAndSettle, IT_IS_A_TABLE),
        (Workload::Sleep, IT_IS_A_TABLE),
    ],
    settings: &[],
    lacks: &["everything but the row: it is the floor below all contenders"],
};

const TABLE: &str = include_str!("../../../bare.sql");

const INSERT: &str = "insert into bare (channel, payload) values ('bench', $1) returning id";
const UNNEST: &str = "insert into bare (channel, payload) select 'bench', unnest($1::jsonb[])";

struct Bare;

#[async_trait(?Send)]
impl Library for Bare {
    async fn install(&self, job: &Job) -> Result<()> {
        connect(&job.url).await?.batch_execute(TABLE).await?;
        Ok(())
    }

    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>> {
        Ok(Box::new(Inserts(try_join_all((0..job.connections).map(|_| Insert::prepare(&job.url))).await?)))
    }

    async fn work(&self, _: &Job) -> Result<Stop> {
        bail!(IT_IS_A_TABLE)
    }
}

struct Insert {
    client: Client,
    one: Statement,
    many: Statement,
}

impl Insert {
    async fn prepare(url: &str) -> Result<Self> {
        let client = connect(url).await?;
        let one = client.prepare(INSERT).await?;
        let many = client.prepare(UNNEST).await?;
        Ok(Self { client, one, many })
    }
}

struct Inserts(Vec<Insert>);

#[async_trait(?Send)]
impl Publisher for Inserts {
    async fn publish(&self, connection: usize, order: &Order) -> Result<()> {
        let insert = &self.0[connection];
        insert.client.query_one(&insert.one, &[&serde_json::to_value(order)?]).await?;
        Ok(())
    }

    async fn publish_all(&self, connection: usize, orders: &[Order]) -> Result<()> {
        let insert = &self.0[connection];
        let payloads = orders.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>()?;
        insert.client.execute(&insert.many, &[&payloads]).await?;
        Ok(())
    }
}
