async fn sign_up(pool: &sqlx::PgPool, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut transaction = pool.begin().await?;
    sqlx::query("insert into users (name) values ($1)").bind(name).execute(&mut *transaction).await?;
    pubsub::publish(&mut *transaction, &Sms { msg: format!("Welcome, {name}!") }).await?;
    transaction.commit().await?;
    Ok(())
}
