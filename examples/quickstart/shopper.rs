//! A customer of the shop: an HTTP client that knows what answer it expects.

use crate::failed::Failed;
use awc::Client;
use serde_json::Value;
use std::net::SocketAddr;

pub(crate) struct Shopper {
    client: Client,
    shop: String,
}

impl Shopper {
    pub(crate) fn new(shop: SocketAddr) -> Self {
        Self { client: Client::default(), shop: format!("http://{shop}") }
    }

    /// Posts a body and returns the answer.
    ///
    /// # Errors
    /// If the answer is not JSON or its status not the expected one.
    pub(crate) async fn post(&self, path: &str, body: &Value, expected: u16) -> Result<Value, Failed> {
        let posting = self.client.post(format!("{}{path}", self.shop)).send_json(body);
        let mut answer = posting.await.map_err(|error| format!("POST {path} failed: {error}"))?;
        let status = answer.status();
        let body =
            answer.json().await.map_err(|error| format!("POST {path} was not answered in JSON: {error}"))?;
        if status.as_u16() == expected {
            Ok(body)
        } else {
            Err(format!("POST {path} was answered {status}, not {expected}: {body}").into())
        }
    }
}
