async fn sign_up(pool: &deadpool_postgres::Pool, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    transaction.execute("insert into users (name) values ($1)", &[&name]).await?;
    pubsub::publish(&transaction, &Sms { msg: format!("Welcome, {name}!") }).await?;
    transaction.commit().await?;
    Ok(())
}
