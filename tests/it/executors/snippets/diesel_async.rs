use diesel::sql_types::Text;
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};

type Failed = Box<dyn std::error::Error + Send + Sync>;

async fn sign_up(connection: &mut AsyncPgConnection, name: &str) -> Result<(), Failed> {
    let sign_up = async |connection: &mut AsyncPgConnection| -> Result<(), Failed> {
        let insert = diesel::sql_query("insert into users (name) values ($1)").bind::<Text, _>(name);
        insert.execute(connection).await?;
        pubsub::publish(connection, &Sms { msg: format!("Welcome, {name}!") }).await?;
        Ok(())
    };
    connection.transaction(sign_up).await
}
