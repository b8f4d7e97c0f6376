//! The running shop: the HTTP server in front, the runtime behind it.

use crate::database::Database;
use crate::failed::Failed;
use crate::outside::Outside;
use crate::{routes, screen, subscribers};
use actix_web::middleware::from_fn;
use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use pubsub::PubSub;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Threads that serve HTTP.
const WORKERS: usize = 2;

/// How long open requests and handlers may take to finish when the shop closes.
const CLOSING: Duration = Duration::from_secs(20);

pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    pub(crate) pubsub: PubSub,
    pub(crate) outside: Arc<Outside>,
    /// Serves until SIGTERM or SIGINT, and closes then. Returns whether the handlers have finished.
    pub(crate) serving: Pin<Box<dyn Future<Output = Result<bool, pubsub::Error>>>>,
}

/// Opens the shop. The subscribers start first, so that they get the events of the first request.
pub(crate) async fn open(database: &Database, port: u16) -> Result<Shop, Failed> {
    let outside = Arc::new(Outside::new());
    let pubsub = subscribers::subscribe(PubSub::builder(database.target()), &outside).start().await?;
    let (pool, publisher) = (database.pools(), pubsub.clone());
    let app = move || {
        App::new()
            .app_data(Data::new(pool()))
            .app_data(publisher.clone())
            .service(pubsub::web::health(&publisher)) // before the log of requests, which shows no probes
            .service(web::scope("").wrap(from_fn(routes::narrate)).configure(routes::configure))
    };
    let server =
        HttpServer::new(app).workers(WORKERS).bind((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
            format!("cannot serve on port {port} ({error}): choose another with --port, or 0 for any")
        })?;
    let address = *server.addrs().first().ok_or("the server has no address")?;
    screen::say("serving", &format!("http://{address}"));
    let serving = {
        let pubsub = pubsub.clone();
        Box::pin(async move { pubsub.serve(server, CLOSING).await })
    };
    Ok(Shop { address, pubsub, outside, serving })
}

impl Shop {
    /// Serves until a signal.
    pub(crate) async fn serve(self) -> Result<(), Failed> {
        is_finished(self.serving.await?)
    }

    /// Closes the HTTP server, which has no open requests, and drains the runtime.
    pub(crate) async fn close(self) -> Result<(), Failed> {
        drop(self.serving);
        is_finished(self.pubsub.drain(CLOSING).await)
    }
}

fn is_finished(finished: bool) -> Result<(), Failed> {
    if finished {
        return Ok(());
    }
    Err(format!("handlers were still busy after {CLOSING:?}; their deliveries run again next time").into())
}
