//! A TCP proxy between the runtime and the server that resets connections, stays down for a while, silences a connection, or
//! makes the server far.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A proxy in front of a database server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// The notification that silences each connection, by the port that the server sees.
    links: Arc<Mutex<HashMap<u16, Arc<Notify>>>>,
    /// Whether connections are open.
    up: watch::Sender<bool>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy in front of the server of a database URL.
    pub async fn start(database_url: &str) -> Self {
        Self::far(database_url, Duration::ZERO).await
    }

    /// Starts a proxy that delivers everything this much later, in each direction.
    pub async fn far(database_url: &str, delay: Duration) -> Self {
        let config: tokio_postgres::Config = database_url.parse().expect("a database URL");
        let tokio_postgres::config::Host::Tcp(host) = &config.get_hosts()[0] else {
            panic!("the proxy needs a TCP address: {database_url}");
        };
        let upstream = format!("{host}:{}", config.get_ports()[0]);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let links = Arc::new(Mutex::new(HashMap::new()));
        let (up, is_up) = watch::channel(true);
        let accepted = Arc::clone(&links);
        let accepting = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.expect("the proxy accepts");
                if !*is_up.borrow() {
                    reset(&client);
                    continue;
                }
                let Ok(server) = TcpStream::connect(&upstream).await else {
                    reset(&client);
                    continue;
                };
                let port = server.local_addr().expect("a connected socket has an address").port();
                let silence = Arc::new(Notify::new());
                tokio::spawn(forward(client, server, delay, Arc::clone(&silence), is_up.clone()));
                accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(port, silence);
            }
        });
        Self { address, links, up, accepting }
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The database URL that leads through the proxy.
    pub fn url(&self, database_url: &str) -> String {
        let database = database_url.rsplit('/').next().expect("a URL has a path");
        format!("postgres://postgres@{}/{database}", self.address)
    }

    /// Silences a connection: nothing is forwarded any more, and neither end notices. `port` is the port that the server
    /// sees (`pg_stat_activity.client_port`).
    pub fn silence(&self, port: u16) {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(&port).expect("a connection through the proxy").notify_one();
    }

    /// Resets every connection, also new ones, until [`mend`](Self::mend).
    pub fn cut(&self) {
        self.up.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.up.send_replace(true);
    }
}

/// Forwards in both directions until one end closes. When cut, it resets both ends; when silenced, it keeps both open and
/// forwards nothing.
async fn forward(
    mut client: TcpStream,
    mut server: TcpStream,
    delay: Duration,
    silence: Arc<Notify>,
    mut is_up: watch::Receiver<bool>,
) {
    let forwarding = async {
        if delay.is_zero() {
            return drop(tokio::io::copy_bidirectional(&mut client, &mut server).await);
        }
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        // The end of one direction ends both.
        tokio::select! {
            _ = forward_late(from_client, to_server, delay) => {}
            _ = forward_late(from_server, to_client, delay) => {}
        }
    };
    tokio::select! {
        // An error is the end of the connection, and the other end gets its own.
        () = forwarding => return,
        _ = is_up.wait_for(|up| !up) => {
            reset(&client);
            return reset(&server);
        }
        () = silence.notified() => {}
    }
    std::future::pending::<()>().await;
}

/// Forwards everything `delay` later, in order.
async fn forward_late(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    delay: Duration,
) -> std::io::Result<()> {
    let (sender, mut receiver) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = async {
        let mut buffer = vec![0; 65_536];
        loop {
            let length = from.read(&mut buffer).await?;
            // Nothing at all is the end.
            drop(sender.send((Instant::now() + delay, buffer[..length].to_vec())));
            if length == 0 {
                return std::future::pending().await;
            }
        }
    };
    let writing = async {
        while let Some((due, bytes)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if bytes.is_empty() {
                break;
            }
            to.write_all(&bytes).await?;
        }
        Ok(())
    };
    tokio::select! { ended = reading => ended, ended = writing => ended }
}

/// Makes the next close a reset (RST) rather than an orderly end (FIN).
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().expect("the socket is open");
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}
