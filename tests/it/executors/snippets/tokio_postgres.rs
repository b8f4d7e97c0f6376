async fn sign_up(client: &mut tokio_postgres::Client, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let transaction = client.transaction().await?;
    transaction.execute("insert into users (name) values ($1)", &[&name]).await?;
    pubsub::publish(&transaction, &Sms { msg: format!("Welcome, {name}!") }).await?;
    transaction.commit().await?;
    Ok(())
}
