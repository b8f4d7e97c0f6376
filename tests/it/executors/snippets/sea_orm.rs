use sea_orm::{ConnectionTrait, DatabaseConnection, DbBackend, Statement, TransactionTrait};

async fn sign_up(connection: &DatabaseConnection, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let transaction = connection.begin().await?;
    let sql = "insert into users (name) values ($1)"; // or user.insert(&transaction) of an entity
    transaction.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, sql, [name.into()])).await?;
    pubsub::publish(&transaction, &Sms { msg: format!("Welcome, {name}!") }).await?;
    transaction.commit().await?;
    Ok(())
}
