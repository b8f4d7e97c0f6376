//! Publishing: single rows, each in its own transaction, by 1, 8 and 64 clients; and bulks by two clients, a thousand rows to a
//! statement or ten thousand to a COPY. There is no subscription, and so no sleeper.

use crate::databases::{connect, database};
use crate::rounds::{ROUNDS, Rounds};
use crate::tables::PAYLOAD;
use futures_util::future::join_all;
use futures_util::{SinkExt, pin_mut};
use pubsub::testing::Server;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Statement};

/// The duration of one turn.
const TURN: Duration = Duration::from_secs(1);

/// The rows of one INSERT from UNNEST, and of one COPY.
const UNNEST_ROWS: usize = 1_000;
const COPY_ROWS: usize = 10_000;

/// The statements of each client that are not measured: from the sixth on, statements run on plans that are kept.
const WARM_UP: usize = 20;

const TABLES: [&str; 4] = ["pubsub.db_events", "bare", "partitioned", "notifying"];

pub(crate) async fn run(server: &Server) {
    let url = database(server, "publishing").await;
    for clients in [1, 8, 64] {
        let clients = join_all((0..clients).map(|_| Single::new(&url))).await;
        let rounds = Rounds::<4>::play(ROUNDS, async |way| {
            rate(&clients, async |client| client.insert(way).await).await
        })
        .await;
        let n = clients.len();
        rounds.print(
            ["publish", "bare", "partitioned", "notify"]
                .map(|way| format!("{way}_{n}"))
                .each_ref()
                .map(String::as_str),
            "events/s",
        );
        rounds.print_ratio(&format!("publish_{n}_to_bare"), 0, 1);
        rounds.print_ratio(&format!("publish_{n}_to_notify"), 0, 3);
    }

    let clients = join_all((0..2).map(|_| Bulk::new(&url))).await;
    let rounds =
        Rounds::<2>::play(ROUNDS, async |way| rate(&clients, async |client| client.insert(way).await).await)
            .await;
    rounds.print(["unnest", "bare_unnest"], "events/s");
    rounds.print_ratio("unnest_to_bare", 0, 1);
    let rounds =
        Rounds::<2>::play(ROUNDS, async |way| rate(&clients, async |client| client.copy(way).await).await)
            .await;
    rounds.print(["copy", "bare_copy"], "events/s");
    rounds.print_ratio("copy_to_bare", 0, 1);
}

/// Lets some clients do `work` at once until the turn is over. `work` returns how many events it has published.
async fn rate<C>(clients: &[C], work: impl AsyncFn(&C) -> u64) -> f64 {
    let began = Instant::now();
    let published = join_all(clients.iter().map(async |client| {
        let mut published = 0;
        while began.elapsed() < TURN {
            published += work(client).await;
        }
        published
    }))
    .await;
    published.iter().sum::<u64>() as f64 / began.elapsed().as_secs_f64()
}

/// A client that inserts single rows.
struct Single {
    client: Client,
    inserts: Vec<Statement>,
}

impl Single {
    async fn new(url: &str) -> Self {
        let client = connect(url).await;
        let mut inserts = Vec::new();
        for table in TABLES {
            let sql =
                format!("insert into {table} (channel, payload) values ($1, $2::text::jsonb) returning id");
            inserts.push(client.prepare(&sql).await.expect("an insert"));
        }
        let single = Self { client, inserts };
        for way in 0..TABLES.len() {
            for _ in 0..WARM_UP {
                single.insert(way).await;
            }
        }
        single
    }

    async fn insert(&self, way: usize) -> u64 {
        self.client.query(&self.inserts[way], &[&"bench", &PAYLOAD]).await.expect("an insert");
        1
    }
}

/// A client that inserts many rows at once.
struct Bulk {
    client: Client,
    payloads: Vec<&'static str>,
    rows: bytes::Bytes,
}

impl Bulk {
    async fn new(url: &str) -> Self {
        let rows = format!("bench\t{PAYLOAD}\n").repeat(COPY_ROWS);
        Self { client: connect(url).await, payloads: vec![PAYLOAD; UNNEST_ROWS], rows: rows.into() }
    }

    async fn insert(&self, way: usize) -> u64 {
        let sql = format!(
            "insert into {} (channel, payload) select 'bench', p.payload::jsonb from unnest($1::text[]) p (payload)",
            TABLES[way]
        );
        self.client.execute(&sql, &[&self.payloads]).await.expect("a bulk")
    }

    async fn copy(&self, way: usize) -> u64 {
        let sql = format!("copy {} (channel, payload) from stdin", TABLES[way]);
        let sink = self.client.copy_in(&sql).await.expect("a copy");
        pin_mut!(sink);
        sink.send(self.rows.clone()).await.expect("its rows");
        sink.finish().await.expect("its end")
    }
}
