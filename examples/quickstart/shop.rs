//! The running shop: the HTTP server in front, the runtime behind it.

use crate::database::Database;
use crate::failed::Failed;
use crate::outside::Outside;
use crate::{routes, screen, subscribers};
use actix_web::dev::ServerHandle;
use actix_web::middleware::from_fn;
use actix_web::rt::signal::unix::{SignalKind, signal};
use actix_web::web::Data;
use actix_web::{App, HttpServer};
use pubsub::PubSub;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Threads that serve HTTP.
const WORKERS: usize = 2;

/// How long open requests may take when the shop closes, in seconds.
const LAST_REQUESTS: u64 = 5;

/// How long the handlers may take to finish when the shop closes.
const LAST_DELIVERIES: Duration = Duration::from_secs(20);

pub(crate) struct Shop {
    pub(crate) address: SocketAddr,
    pub(crate) pubsub: PubSub,
    pub(crate) outside: Arc<Outside>,
    server: ServerHandle,
    serving: JoinHandle<io::Result<()>>,
}

/// Opens the shop. The subscribers start first, so that they get the events of the first request.
pub(crate) async fn open(database: &Database, port: u16) -> Result<Shop, Failed> {
    let pool = database.pools();
    let server = HttpServer::new(move || {
        App::new().app_data(Data::new(pool())).wrap(from_fn(routes::narrate)).configure(routes::configure)
    })
    .workers(WORKERS)
    .shutdown_timeout(LAST_REQUESTS)
    // On a signal, actix-web would stop the whole actix system together with the running handlers.
    .disable_signals()
    .bind((Ipv4Addr::LOCALHOST, port))
    .map_err(|error| {
        format!("cannot serve on port {port} ({error}): choose another with --port, or 0 for any")
    })?;
    let address = *server.addrs().first().ok_or("the server has no address")?;

    let outside = Arc::new(Outside::new());
    let pubsub = subscribers::subscribe(PubSub::builder(database.target()), &outside).start().await?;

    let server = server.run();
    screen::say("serving", &format!("http://{address}"));
    Ok(Shop { address, pubsub, outside, server: server.handle(), serving: actix_web::rt::spawn(server) })
}

impl Shop {
    /// Closes the HTTP server, then drains the runtime.
    pub(crate) async fn close(self) -> Result<(), Failed> {
        self.server.stop(true).await;
        self.serving.await??;
        if self.pubsub.drain(LAST_DELIVERIES).await {
            return Ok(());
        }
        let busy = format!(
            "handlers were still busy after {LAST_DELIVERIES:?}; their deliveries run again next time"
        );
        Err(busy.into())
    }
}

/// Returns a future that completes at SIGINT (Ctrl-C) or SIGTERM. It catches signals from now on.
pub(crate) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
