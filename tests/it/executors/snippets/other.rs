use pubsub::prepared::Value;
use tokio_postgres::types::ToSql; // in the place of your driver's

/// Converts a value into the driver's.
fn bind(value: &Value) -> &(dyn ToSql + Sync) {
    match value {
        Value::Text(text) => text,
        Value::Int4(number) => number,
        Value::Int8(number) => number,
    }
}

async fn sign_up(client: &mut tokio_postgres::Client, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let transaction = client.transaction().await?;
    transaction.execute("insert into users (name) values ($1)", &[&name]).await?;
    let insert = pubsub::prepared(&Sms { msg: format!("Welcome, {name}!") })?;
    let values: Vec<_> = insert.parameters().iter().map(bind).collect();
    transaction.query_one(insert.sql(), &values).await?; // the id, and whether it is a duplicate
    transaction.commit().await?;
    Ok(())
}
