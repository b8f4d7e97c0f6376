//! A TCP proxy between the runtime and the server that resets connections, stays down for a while, or silences a
//! connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

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
                let server = TcpStream::connect(&upstream).await.expect("the server accepts");
                let port = server.local_addr().expect("a connected socket has an address").port();
                let silence = Arc::new(Notify::new());
                tokio::spawn(forward(client, server, Arc::clone(&silence), is_up.clone()));
                accepted.lock().unwrap_or_else(PoisonError::into_inner).insert(port, silence);
            }
        });
        Self { address, links, up, accepting }
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
    silence: Arc<Notify>,
    mut is_up: watch::Receiver<bool>,
) {
    tokio::select! {
        // An error is the end of the connection, and the other end gets its own.
        ended = tokio::io::copy_bidirectional(&mut client, &mut server) => return drop(ended),
        _ = is_up.wait_for(|up| !up) => {
            reset(&client);
            return reset(&server);
        }
        () = silence.notified() => {}
    }
    std::future::pending::<()>().await;
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
