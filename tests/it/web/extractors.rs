//! A handler of requests takes the runtime and a publisher as arguments.

use super::http::get;
use actix::{Actor, Context, Handler};
use actix_web::web::{self, Data};
use actix_web::{App, FromRequest, HttpServer, test};
use pubsub::routing::Publisher;
use pubsub::{Delivery, Handled, PubSub};
use pubsub_tests::{Sms, TestDatabase};
use std::net::Ipv4Addr;

#[derive(Default)]
pub(super) struct Archive;

impl Actor for Archive {
    type Context = Context<Self>;
}

impl Handler<Delivery<Sms>> for Archive {
    type Result = Handled;

    fn handle(&mut self, _: Delivery<Sms>, _: &mut Self::Context) -> Handled {
        Ok(())
    }
}

pubsub::routes! {
    pub(super) Shop { Sms => Archive }
}

async fn publish(publisher: Publisher<Shop>, pubsub: PubSub) -> Result<String, actix_web::Error> {
    let published = publisher.publish(&pubsub, &Sms::new("hello")).await;
    published.map(|_| "published".to_owned()).map_err(actix_web::error::ErrorInternalServerError)
}

#[actix::test]
async fn a_handler_of_requests_extracts_runtime_and_publisher() {
    let db = TestDatabase::new().await;
    let pubsub = db.pubsub().routes(Shop::all()).start().await.unwrap();
    let app = move || {
        let plain = web::scope("/plain").app_data(pubsub.clone());
        let wrapped = web::scope("/data").app_data(Data::new(pubsub.clone()));
        let route = || web::resource("/publish").to(publish);
        App::new().service(plain.service(route())).service(wrapped.service(route())).service(route())
    };
    let server = HttpServer::new(app).workers(1).disable_signals().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = server.addrs()[0];
    actix::spawn(server.run());
    for path in ["/plain/publish", "/data/publish"] {
        assert_eq!(get(address, path).await, (200, "published".to_owned()), "{path}");
    }
    assert_eq!(db.count("select count(*) from pubsub.db_events").await, 2);
    let unregistered = get(address, "/publish").await;
    assert_eq!(unregistered, (500, "internal server error".to_owned()), "the client learns nothing");
}

#[actix::test]
async fn without_a_runtime_the_log_says_what_to_write() {
    let request = test::TestRequest::default().to_http_request();
    let error = PubSub::extract(&request).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a handler of requests takes a `PubSub`, but the application has none: \
         add `.app_data(pubsub.clone())` to its `App`"
    );
}
