//! `PubSub::serve` ends in order: the server first, and the runtime afterwards.

use super::http::{Request, get, until_refused, until_status};
use actix_web::web::{self, Data};
use actix_web::{App, HttpServer};
use pubsub::{Delivery, Error, PubSub, SubscribeOptions, publish};
use pubsub_tests::{ChildProcess, DEADLINE, Sms, TestDatabase, connect, in_child_process, until};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio_postgres::Client;

/// Tells the parent something.
type Report = Arc<dyn Fn(&str) + Send + Sync>;

/// The lock of the test that the request waits for, and that of the handler.
const REQUEST: &str = "1";
const HANDLER: &str = "2";

/// Waits until the parent has released a lock.
async fn until_released(client: &Client, lock: &str) {
    client.batch_execute(&format!("select pg_advisory_lock_shared({lock})")).await.unwrap();
}

/// Waits for the test, publishes an event, and responds once it is handled.
async fn request(pubsub: PubSub, url: Data<String>, report: Data<Report>) -> String {
    let client = connect(&url).await;
    report("request");
    until_released(&client, REQUEST).await;
    publish(&pubsub, &Sms::new("requested")).await.unwrap();
    until(&client, "select exists (select from public.book where msg = 'requested')").await;
    "handled".to_owned()
}

/// Serves, with an hour to end. Exits when `serve` returns.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_serves() {
    serve_in_child(Duration::from_secs(3_600)).await;
}

/// Serves, with a second to end.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_serves_with_a_second_to_end() {
    serve_in_child(Duration::from_secs(1)).await;
}

async fn serve_in_child(deadline: Duration) {
    let Some((url, report)) = in_child_process() else { return };
    let report: Report = Arc::new(report);
    let handle = {
        let (url, report) = (url.clone(), report.clone());
        move |sms: Delivery<Sms>| {
            let (url, report) = (url.clone(), report.clone());
            async move {
                let client = connect(&url).await;
                if sms.msg == "slow" {
                    report("slow");
                    until_released(&client, HANDLER).await;
                }
                let attempt = sms.attempt().cast_signed();
                client.execute("insert into public.book values ($1, $2)", &[&sms.msg, &attempt]).await?;
                Ok(())
            }
        }
    };
    let options = SubscribeOptions::new().concurrency(4);
    let pubsub = PubSub::builder(&*url).subscribe_fn_with("book", options, handle).start().await.unwrap();
    let app = {
        let (pubsub, url, report) = (pubsub.clone(), Data::new(url), Data::new(report.clone()));
        let drain = async |pubsub: PubSub| {
            // Not awaited: the response is sent first.
            actix::spawn(async move { pubsub.drain(DEADLINE).await });
            "draining"
        };
        move || {
            App::new()
                .app_data(pubsub.clone())
                .app_data(url.clone())
                .app_data(report.clone())
                .route("/request", web::get().to(request))
                .route("/drain", web::get().to(drain))
                .service(pubsub::web::health(&pubsub))
        }
    };
    // `serve` has the say, not the server's own timeout.
    let server = HttpServer::new(app).workers(2).shutdown_timeout(0).bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    report(&server.addrs()[0].to_string());
    let finished = pubsub.serve(server, deadline).await;
    report(&format!("{finished:?}"));
}

/// A child that serves, and its address.
struct Served {
    db: TestDatabase,
    child: ChildProcess,
    address: SocketAddr,
}

impl Served {
    async fn start(test: &str) -> Self {
        let db = TestDatabase::new().await;
        let book = "create table book (msg text not null, attempt integer not null)";
        db.client.batch_execute(book).await.unwrap();
        let child = ChildProcess::start(&format!("web::serving::{test}"), db.url());
        let address = child.next().await.parse().unwrap();
        // From here on it catches the signals.
        until_status(address, "/live", 200).await;
        Self { db, child, address }
    }

    async fn hold(&self, lock: &str) {
        self.db.client.batch_execute(&format!("select pg_advisory_lock({lock})")).await.unwrap();
    }

    async fn release(&self, lock: &str) {
        self.db.client.batch_execute(&format!("select pg_advisory_unlock({lock})")).await.unwrap();
    }

    /// Asserts that the child exits, and returns what `serve` did.
    async fn exits(mut self) -> (TestDatabase, String) {
        let finished = self.child.next().await;
        let status = self.child.exited().await;
        assert!(status.success(), "{status}");
        (self.db, finished)
    }
}

/// On a signal, what is under way is finished: first the requests, with the runtime behind them, and then the deliveries.
async fn ends_in_order(signal: &str) {
    let served = Served::start("child_serves").await;
    served.hold(REQUEST).await;
    served.hold(HANDLER).await;
    publish(&served.db.client, &Sms::new("slow")).await.unwrap();
    assert_eq!(served.child.next().await, "slow", "a delivery is under way");
    let request = Request::send(served.address, "/request").await;
    assert_eq!(served.child.next().await, "request", "a request is under way");

    served.child.signal(signal);
    until_refused(served.address).await;
    served.release(REQUEST).await;
    // Its event was handled while it was open, so the runtime did not drain before.
    assert_eq!(request.response().await, Some((200, "handled".to_owned())));
    served.release(HANDLER).await;
    let (db, finished) = served.exits().await;
    assert_eq!(finished, "Ok(true)");

    let book = "select count(*) from book where msg in ('slow', 'requested') and attempt = 1";
    assert_eq!(db.count(book).await, 2, "each was handled once");
    let rest = "select (select count(*) from pubsub.leases) + (select count(*) from pubsub.mailbox) \
                     + (select count(*) from pubsub.processes)";
    assert_eq!(db.count(rest).await, 0, "nothing is left of the process");
}

#[actix::test]
async fn on_sigterm_requests_end_before_the_handlers_drain() {
    ends_in_order("TERM").await;
}

#[actix::test]
async fn on_sigint_requests_end_before_the_handlers_drain() {
    ends_in_order("INT").await;
}

#[actix::test]
async fn a_second_signal_ends_at_once() {
    let served = Served::start("child_serves").await;
    served.hold(REQUEST).await;
    served.hold(HANDLER).await;
    publish(&served.db.client, &Sms::new("slow")).await.unwrap();
    assert_eq!(served.child.next().await, "slow");
    let request = Request::send(served.address, "/request").await;
    assert_eq!(served.child.next().await, "request");
    served.child.signal("TERM");
    until_refused(served.address).await;
    served.child.signal("INT");
    let (db, finished) = served.exits().await;
    assert_eq!(finished, "Ok(false)", "a delivery was not finished");
    assert_eq!(request.response().await, None);
    let returned = "select count(*) from pubsub.mailbox where token is null";
    assert_eq!(db.count(returned).await, 1, "it was returned, for another process");
    assert_eq!(db.count("select count(*) from pubsub.leases").await, 0);
}

#[actix::test]
async fn a_request_without_an_end_does_not_hold_up_the_end() {
    let served = Served::start("child_serves_with_a_second_to_end").await;
    served.hold(REQUEST).await;
    let request = Request::send(served.address, "/request").await;
    assert_eq!(served.child.next().await, "request");
    served.child.signal("TERM");
    assert_eq!(request.response().await, None, "its connection is closed");
    let (_, finished) = served.exits().await;
    // A machine that is too busy to drain within half a second says `false`.
    assert!(finished.starts_with("Ok("), "{finished}");
}

#[actix::test]
async fn requests_have_half_of_the_deadline() {
    let served = Served::start("child_serves").await;
    served.hold(REQUEST).await;
    let mut request = Request::send(served.address, "/request").await;
    assert_eq!(served.child.next().await, "request");
    served.child.signal("TERM");
    until_refused(served.address).await;
    // Once a second, the server's threads look whether their time is up.
    let ended = tokio::time::timeout(Duration::from_secs(3), request.ends()).await;
    assert!(ended.is_err(), "the request is still under way");
    served.release(REQUEST).await;
    assert_eq!(request.response().await, Some((200, "handled".to_owned())));
    let (_, finished) = served.exits().await;
    assert_eq!(finished, "Ok(true)");
}

#[actix::test]
async fn a_runtime_that_is_drained_closes_the_server() {
    let served = Served::start("child_serves").await;
    assert_eq!(get(served.address, "/drain").await, (200, "draining".to_owned()));
    until_refused(served.address).await;
    let (_, finished) = served.exits().await;
    assert_eq!(finished, "Ok(true)");
}

#[actix::test]
async fn a_server_without_an_address_is_refused() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().start().await.unwrap();
    let error = pubsub.serve(HttpServer::new(App::new), DEADLINE).await.unwrap_err();
    assert_eq!(error.code(), "serve");
    assert!(matches!(error, Error::Serve(_)), "{error:?}");
    assert!(matches!(publish(&pubsub, &Sms::new("late")).await, Err(Error::Stopped)), "it has drained");
}
