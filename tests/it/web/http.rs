//! A client of HTTP that shows what happens to its connection, and a server on loopback.

use actix_web::dev::HttpServiceFactory;
use actix_web::{App, HttpServer};
use pubsub_tests::DEADLINE;
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A request that was sent.
pub(super) struct Request(TcpStream);

impl Request {
    /// Sends a GET of a path.
    pub(super) async fn send(address: SocketAddr, path: &str) -> Self {
        Self::send_with("GET", address, path).await
    }

    pub(super) async fn send_with(method: &str, address: SocketAddr, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// Waits until the connection has something to read, or has ended.
    pub(super) async fn ends(&mut self) {
        let _ = self.0.peek(&mut [0]).await;
    }

    /// Waits for the response. Returns its status and its body, or `None` if the connection ends without one.
    pub(super) async fn response(mut self) -> Option<(u16, String)> {
        let mut text = String::new();
        // A connection that is reset has no response.
        let _ = timeout(DEADLINE, self.0.read_to_string(&mut text)).await.expect("an end of the connection");
        let (head, body) = text.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1).expect("a status line");
        Some((status.parse().unwrap(), body.to_owned()))
    }
}

/// Returns the status and the body of a path.
pub(super) async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    Request::send(address, path).await.response().await.expect("a response")
}

/// Asks until the answer has this status. Returns its JSON.
pub(super) async fn until_status(address: SocketAddr, path: &str, status: u16) -> Value {
    until(address, path, &format!("the status {status}"), |found, _| found == status).await
}

/// Asks until the answer is as expected. Returns its JSON.
pub(super) async fn until(
    address: SocketAddr,
    path: &str,
    expected: &str,
    is_expected: impl Fn(u16, &Value) -> bool,
) -> Value {
    let end = Instant::now() + DEADLINE;
    loop {
        let (status, body) = get(address, path).await;
        let json = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        if is_expected(status, &json) {
            return json;
        }
        assert!(Instant::now() < end, "{path} is still {status} {json}, without {expected}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until nobody accepts connections there.
pub(super) async fn until_refused(address: SocketAddr) {
    let end = Instant::now() + DEADLINE;
    while TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < end, "{address} still accepts connections");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Serves one service on loopback, until the test ends.
pub(super) fn serve<S: HttpServiceFactory + 'static>(
    service: impl Fn() -> S + Clone + Send + 'static,
) -> SocketAddr {
    let server = HttpServer::new(move || App::new().service(service()));
    let server = server.workers(1).disable_signals().bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = server.addrs()[0];
    actix::spawn(server.run());
    address
}
