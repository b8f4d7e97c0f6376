use actix_web::web::Data;
use actix_web::{App, HttpResponse, HttpServer, ResponseError, post};
use pubsub::{PubSub, routing::Publisher};
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// The client reads this much. The cause is in the log.
#[derive(Debug)]
struct Failed;

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something went wrong on our side")
    }
}

impl ResponseError for Failed {}

impl<E: Error + 'static> From<E> for Failed {
    fn from(cause: E) -> Self {
        tracing::error!(error = &cause as &dyn Error, "a request failed");
        Self
    }
}

#[post("/users")]
async fn sign_up(publisher: Publisher<Shop>, pool: Data<Pool>, name: String) -> Result<HttpResponse, Failed> {
    let mut client = pool.get().await?;
    let transaction = client.transaction().await?;
    transaction.execute("insert into users (name) values ($1)", &[&name]).await?;
    publisher.publish(&transaction, &Sms { msg: format!("Welcome, {name}!") }).await?;
    transaction.commit().await?;
    Ok(HttpResponse::Created().finish())
}

#[actix_web::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let target = pubsub::Target::parse("postgres://localhost/shop")?;
    pubsub::migrate(&target).await?;
    let pubsub = PubSub::builder(&target).routes(Shop::all()).start().await?;
    let app = {
        let pubsub = pubsub.clone();
        move || {
            App::new()
                .app_data(pubsub.clone())                      // for handlers that take a `PubSub`
                .app_data(Data::new(target.pool(4)))           // a pool for each worker
                .service(pubsub::web::health(&pubsub))         // GET /live, GET /ready
                .service(sign_up)
        }
    };
    pubsub.serve(HttpServer::new(app).bind("127.0.0.1:8080")?, Duration::from_secs(25)).await?;
    Ok(())
}
