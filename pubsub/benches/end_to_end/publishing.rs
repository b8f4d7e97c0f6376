//! `publish_1`, `publish_8`, `publish_bulk`, and beside them the floor: the same rows into a table of the same shape without a
//! trigger, by prepared inserts and by COPY.

use crate::databases::{connect, database};
use crate::figures::{RUNS, figure, median};
use crate::order::Order;
use futures_util::SinkExt;
use futures_util::future::join_all;
use pubsub::testing::Server;
use pubsub::{PubSub, publish, publish_all};
use std::time::{Duration, Instant};
use tokio_postgres::Client;

/// The time for which each way is measured.
const SPAN: Duration = Duration::from_secs(3);

/// The time between two publishes of a client that is paced.
const PACE: Duration = Duration::from_millis(25);

/// The events of one bulk.
const BULK: usize = 10_000;

const FLOOR: &str = include_str!("../bare.sql");

pub(crate) async fn run(server: &Server) {
    let mut rates: [Vec<f64>; 5] = Default::default();
    for run in 0..RUNS {
        let url = database(server, &format!("publishing_{run}")).await;
        let pubsub = PubSub::builder(&url).declare::<Order>().start().await.expect("a runtime");
        pubsub.drain(Duration::from_secs(10)).await;
        connect(&url).await.batch_execute(FLOOR).await.expect("the floor's table");
        rates[0].push(one_by_one(&url, 1).await);
        rates[1].push(one_by_one(&url, 8).await);
        rates[2].push(bare_inserts(&url, 8).await);
        rates[3].push(in_bulk(&url).await);
        rates[4].push(bare_copy(&url).await);
    }
    let names = ["publish_1", "publish_8", "floor_insert_8", "publish_bulk", "floor_copy"];
    for (name, rates) in names.into_iter().zip(rates) {
        figure(name, median(rates), "events/s");
    }
}

/// Lets some clients do `work` at once until the time is over. `work` returns how many events it has published.
async fn rate<W: AsyncFn(&Client, u64) -> u64>(url: &str, clients: usize, work: W) -> f64 {
    let connections = join_all((0..clients).map(|_| connect(url))).await;
    let began = Instant::now();
    let published = join_all(connections.iter().map(async |client| {
        let mut published = 0;
        while began.elapsed() < SPAN {
            published += work(client, published).await;
        }
        published
    }))
    .await;
    published.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64()
}

/// Publishes single events, each in its own transaction, over some connections. Returns events per second.
pub(crate) async fn one_by_one(url: &str, clients: usize) -> f64 {
    rate(url, clients, async |client, n| {
        publish(client, &Order::new(n)).await.expect("a publish");
        1
    })
    .await
}

/// The same, with [`PACE`] between the publishes of a connection. Returns the milliseconds of every publish.
pub(crate) async fn paced(url: &str, clients: usize) -> Vec<f64> {
    let connections = join_all((0..clients).map(|_| connect(url))).await;
    let began = Instant::now();
    let latencies = join_all(connections.iter().enumerate().map(async |(number, client)| {
        // The connections do not publish all at the same time.
        let first = began + PACE.mul_f64(number as f64 / clients as f64);
        let mut pace = tokio::time::interval_at(first.into(), PACE);
        let mut latencies = Vec::new();
        while began.elapsed() < SPAN {
            pace.tick().await;
            let asked = Instant::now();
            publish(client, &Order::new(latencies.len() as u64)).await.expect("a publish");
            latencies.push(asked.elapsed().as_secs_f64() * 1e3);
        }
        latencies
    }))
    .await;
    latencies.concat()
}

async fn bare_inserts(url: &str, clients: usize) -> f64 {
    rate(url, clients, async |client, n| {
        let insert = "insert into bare (channel, payload) values ('bench', $1::text::jsonb) returning id";
        let payload = serde_json::to_string(&Order::new(n)).expect("an order is JSON");
        let parameter: (&(dyn tokio_postgres::types::ToSql + Sync), _) =
            (&payload, tokio_postgres::types::Type::TEXT);
        client.query_typed(insert, &[parameter]).await.expect("an insert");
        1
    })
    .await
}

async fn in_bulk(url: &str) -> f64 {
    let orders: Vec<Order> = (0..BULK as u64).map(Order::new).collect();
    rate(url, 2, async |client, _| publish_all(client, &orders).await.expect("a bulk")).await
}

async fn bare_copy(url: &str) -> f64 {
    let rows: String = (0..BULK as u64)
        .map(|n| format!("bench\t{}\n", serde_json::to_string(&Order::new(n)).expect("an order is JSON")))
        .collect();
    let rows = bytes::Bytes::from(rows);
    rate(url, 2, async |client, _| {
        let sink = client.copy_in("copy bare (channel, payload) from stdin").await.expect("a copy");
        futures_util::pin_mut!(sink);
        sink.send(rows.clone()).await.expect("its rows");
        sink.finish().await.expect("its end")
    })
    .await
}
