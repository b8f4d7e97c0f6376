//! A shop on sqlx, whose orders and events commit together: `cargo run -p pubsub-examples --features sqlx --example shop_sqlx`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use pubsub::testing::Database;
use pubsub::{Channel, Delivery, PubSub, publish};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use std::error::Error;
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Serialize, Deserialize, Channel)]
#[channel("order.placed", key = customer, dedupe = "{order}")]
struct OrderPlaced {
    order: i64,
    customer: String,
}

/// Takes an order of some teapots and tells those who send them. Without enough teapots, neither happens.
async fn order(pool: &PgPool, customer: &str, teapots: i32) -> Result<i64, Box<dyn Error>> {
    let mut transaction = pool.begin().await?;
    let insert = "insert into orders (customer, teapots) values ($1, $2) returning id";
    let insert = sqlx::query_scalar(insert).bind(customer).bind(teapots);
    let order = insert.fetch_one(&mut *transaction).await?;
    publish(&mut *transaction, &OrderPlaced { order, customer: customer.to_owned() }).await?;
    let take = sqlx::query("update stock set teapots = teapots - $1").bind(teapots);
    take.execute(&mut *transaction).await?; // dropping the transaction rolls the order and its event back
    transaction.commit().await?;
    Ok(order)
}

#[actix::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let database = Database::empty().await?;
    pubsub::migrate(database.url()).await?;
    let pool = PgPool::connect(database.url()).await?;
    let tables = "create table orders (id bigserial primary key, customer text, teapots integer);
                  create table stock as select 5 as teapots; alter table stock add check (teapots >= 0)";
    sqlx::raw_sql(tables).execute(&pool).await?;
    let (sender, mut sent) = mpsc::unbounded_channel();
    let pubsub = PubSub::builder(database.url())
        .subscribe_fn("dispatch", move |placed: Delivery<OrderPlaced>| {
            let sent = sender.send(format!("Sent order {} to {}.", placed.order, placed.customer));
            async move { Ok(sent?) }
        })
        .start()
        .await?;

    for (customer, teapots) in [("Ada", 3), ("Eve", 4), ("Grace", 2)] {
        let taken = order(&pool, customer, teapots).await;
        println!("{customer}: {}", taken.map_or_else(|error| error.to_string(), |id| format!("order {id}")));
    }
    for _ in 0..2 {
        println!("{}", sent.recv().await.ok_or("no event")?);
    }
    pubsub.drain(Duration::from_secs(10)).await;
    Ok(())
}
