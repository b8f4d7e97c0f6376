//! The answers of a route to a request that it cannot carry out.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::json;
use std::error::Error;
use std::fmt;

/// The reason why a request was not carried out.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// The body is invalid in these fields.
    Invalid(Vec<FieldProblem>),
    NotFound(String),
    Conflict(String),
    /// An error of the server. The cause goes to the log, never to the client.
    Internal(Box<dyn Error>),
}

/// A field and its problem.
#[derive(Debug, Serialize)]
pub(crate) struct FieldProblem {
    field: String,
    problem: String,
}

impl FieldProblem {
    pub(crate) fn new(field: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self { field: field.into(), problem: problem.to_string() }
    }
}

impl<E: Error + 'static> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self::Internal(Box::new(error))
    }
}

impl ResponseError for ApiError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::Conflict(_) => StatusCode::CONFLICT,
            Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        let mut body = json!({ "error": self.to_string() });
        if let Self::Invalid(problems) = self {
            body["fields"] = json!(problems);
        }
        if let Self::Internal(error) = self {
            tracing::error!(channel = "http", "{}", chain(error.as_ref()));
        }
        HttpResponse::build(self.status_code()).json(body)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(problems) => {
                let named =
                    problems.iter().map(|FieldProblem { field, problem }| format!("{field}: {problem}"));
                f.write_str(&named.collect::<Vec<_>>().join("; "))
            }
            Self::NotFound(what) | Self::Conflict(what) => f.write_str(what),
            Self::Internal(_) => f.write_str("something went wrong on our side"),
        }
    }
}

/// Joins an error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
