//! `/live` and `/ready`.

use super::report::{Facts, Report};
use crate::runtime::PubSub;
use actix_web_4::HttpResponse;
use actix_web_4::dev::{AppService, HttpServiceFactory};
use actix_web_4::http::StatusCode;
use actix_web_4::http::header::CACHE_CONTROL;
use actix_web_4::web::{get, head, resource};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Returns the resources `/live` and `/ready` for the probes of an orchestrator.
///
/// Both answer 200 or 503, with JSON that has no payload and no secret in it:
/// - `/live`: the process responds, and so does the thread of the runtime's own actors. One that fails is best restarted.
/// - `/ready`: each of the following holds. The answer has them one by one.
///   - `schema`: the database answers, and its schema works with this library;
///   - `heartbeat`: the last beat is younger than the silence limit;
///   - `listener`: the connection for notifications stands. Without it, subscriptions only poll;
///   - `quarantine`: no handler of this process waits because it died too often;
///   - `unread`: no subscription of this process has been unread for longer than the limit, which is
///     [`Health::oldest_unread`].
///
/// An answer takes at most 3 s. The database is asked at most once a second and process, however many probes come, and has 2 s
/// to answer. An error is only its code, [`Error::code`](crate::Error::code), or `no_answer` if the runtime's own thread does not
/// respond.
///
/// Feature `actix-web-4`.
///
/// # Examples
/// ```
/// # extern crate actix_web_4 as actix_web;
/// use actix_web::{App, web};
/// use pubsub::PubSub;
///
/// # fn example(pubsub: PubSub) {
/// App::new().service(pubsub::web::health(&pubsub)); // or below a path:
/// App::new().service(web::scope("/health").service(pubsub::web::health(&pubsub)));
/// # }
/// ```
pub fn health(pubsub: &PubSub) -> Health {
    Health { oldest_unread: pubsub.checkup().report_unread_after, pubsub: pubsub.clone() }
}

/// The resources `/live` and `/ready`. See [`health`].
#[derive(Debug, Clone)]
#[must_use = "register it with `App::service`"]
pub struct Health {
    pubsub: PubSub,
    oldest_unread: Duration,
}

impl Health {
    /// The process is not ready while a subscription of it has been unread for longer than this limit. A subscription has been
    /// unread since its cursor last moved, or since its first unread event was published if that is later. By default the limit
    /// is [`Builder::report_unread_after`](crate::Builder::report_unread_after), an hour.
    ///
    /// All processes of a subscription see the same time. Once it is over the limit, none of them is ready. With `Duration::MAX`
    /// the database is not asked, and the check passes.
    pub fn oldest_unread(self, limit: Duration) -> Self {
        Self { oldest_unread: limit, ..self }
    }

    async fn live(self) -> HttpResponse {
        let is_alive = self.pubsub.checkup().is_alive(self.pubsub.arbiter()).await;
        answer(is_alive, &json!({ "live": is_alive }))
    }

    async fn ready(self) -> HttpResponse {
        let Self { pubsub, oldest_unread } = self;
        let checkup = pubsub.checkup();
        let (arbiter, store) = (pubsub.arbiter(), pubsub.store());
        let unread = async {
            match oldest_unread {
                Duration::MAX => Ok(Arc::default()),
                _ => checkup.ask_unread(arbiter, store).await,
            }
        };
        let (schema, unread) = tokio::join!(checkup.ask_schema(arbiter, store), unread);
        let report = Report::new(Facts {
            schema,
            unread,
            silent_for: checkup.vitals.beat_at().map(|at| at.elapsed()),
            silence_limit: checkup.silence_limit,
            is_listening: checkup.vitals.is_listening() && pubsub.finished().is_none(),
            handlers: pubsub.handlers(),
            oldest_unread,
        });
        answer(report.ready, &report)
    }
}

impl HttpServiceFactory for Health {
    fn register(self, config: &mut AppService) {
        let (live, ready) = (self.clone(), self);
        let live = move || live.clone().live();
        let ready = move || ready.clone().ready();
        // Not a scope: without a path of its own, it would take all requests.
        resource("/live").route(get().to(live.clone())).route(head().to(live)).register(config);
        resource("/ready").route(get().to(ready.clone())).route(head().to(ready)).register(config);
    }
}

fn answer(ok: bool, body: &impl serde::Serialize) -> HttpResponse {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).insert_header((CACHE_CONTROL, "no-store")).json(body)
}
