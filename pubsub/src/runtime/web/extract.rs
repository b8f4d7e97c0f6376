//! Extractors: a handler of requests takes the runtime, or a publisher, as an argument.

use crate::runtime::PubSub;
use crate::runtime::routes::publisher::Publisher;
use actix_web_4::dev::Payload;
use actix_web_4::http::StatusCode;
use actix_web_4::web::Data;
use actix_web_4::{Error, FromRequest, HttpRequest, HttpResponse, ResponseError};
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Once;

/// The runtime that the application has registered, with `.app_data(pubsub.clone())` or `.app_data(Data::new(pubsub.clone()))`.
/// Without one, the answer is 500, and the log says why, once.
///
/// Feature `actix-web-4`.
impl FromRequest for PubSub {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let plain = request.app_data::<Self>();
        let found = plain.or_else(|| request.app_data::<Data<Self>>().map(Data::get_ref));
        ready(found.cloned().ok_or_else(|| {
            static REPORTED: Once = Once::new();
            // The pattern and not the path, which may have a secret in it.
            REPORTED.call_once(|| {
                tracing::error!(resource = request.match_pattern(), "{Unregistered}; reported once");
            });
            Unregistered.into()
        }))
    }
}

/// A publisher has no content, so it needs no registration and no runtime.
///
/// Feature `actix-web-4`.
impl<R> FromRequest for Publisher<R> {
    type Error = Infallible;
    type Future = Ready<Result<Self, Infallible>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self::new()))
    }
}

/// The application has registered no runtime. Its text is for the log, and the client's is generic.
#[derive(Debug)]
struct Unregistered;

impl fmt::Display for Unregistered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a handler of requests takes a `PubSub`, but the application has none: \
             add `.app_data(pubsub.clone())` to its `App`",
        )
    }
}

impl ResponseError for Unregistered {
    fn status_code(&self) -> StatusCode {
        StatusCode::INTERNAL_SERVER_ERROR
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(self.status_code())
            .set_body("internal server error".to_owned())
            .map_into_boxed_body()
    }
}
