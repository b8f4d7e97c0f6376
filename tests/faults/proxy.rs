//! A proxy between processes and the server that understands the protocol: it can act at each single message.
//!
//! It has a thread of its own, so that nothing else in the test delays its messages.

use crate::wire::{Direction, Message, Role};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The state of all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Every connection is reset, also new ones.
    Cut,
    /// Connections are accepted and stay open, and nothing is forwarded.
    Stalled,
}

/// The treatment of notifications on their way to a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notifications {
    Forwarded,
    Swallowed,
    /// Sent this many times.
    Repeated(usize),
}

#[derive(Debug, Clone, Copy)]
struct Rules {
    upstream: SocketAddr,
    gate: Gate,
    notifications: Notifications,
    /// The speed of the listener's connection.
    bytes_per_second: Option<u32>,
}

/// The action of a trap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Resets the connection.
    Cut,
    /// Forwards nothing more on the connection, and leaves it open.
    Stall,
    /// Forwards the message later.
    Delay(Duration),
    /// Sends SIGKILL to this process.
    Kill(u32),
}

/// A trap for one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trap {
    pub(crate) direction: Direction,
    /// Only messages of connections of this role count.
    pub(crate) role: Option<Role>,
    /// The number of messages that pass before the one that springs the trap.
    pub(crate) after: u32,
    /// Whether the message itself is forwarded first.
    pub(crate) forward: bool,
    pub(crate) action: Action,
}

#[derive(Debug)]
struct Link {
    role: Mutex<Option<Role>>,
    stalled: AtomicBool,
    reset: watch::Sender<bool>,
}

#[derive(Debug)]
struct Shared {
    rules: watch::Sender<Rules>,
    trap: Mutex<Option<Trap>>,
    links: Mutex<Vec<Weak<Link>>>,
}

/// A proxy in front of a server.
#[derive(Debug)]
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    // Its end ends the proxy's thread.
    _alive: tokio::sync::oneshot::Sender<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

impl Proxy {
    /// Starts a proxy in front of the server on this port, at an address of this machine.
    pub(crate) fn start(server: u16, address: IpAddr) -> Self {
        let rules = Rules {
            upstream: local(server),
            gate: Gate::Open,
            notifications: Notifications::Forwarded,
            bytes_per_second: None,
        };
        let shared = Arc::new(Shared {
            rules: watch::Sender::new(rules),
            trap: Mutex::new(None),
            links: Mutex::default(),
        });
        let listener = std::net::TcpListener::bind((address, 0)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket can be made non-blocking");
        let address = listener.local_addr().expect("a bound socket has an address");
        let (alive, ended) = tokio::sync::oneshot::channel();
        let accepting = accept(listener, Arc::clone(&shared));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    () = accepting => {}
                    // An error is the end that is waited for.
                    _ = ended => {}
                }
            });
        });
        Self { address, shared, _alive: alive }
    }

    /// The URL of a database through the proxy.
    pub(crate) fn url(&self, database: &str) -> String {
        // The proxy cuts the stream into messages, and the question for TLS is none.
        format!("postgres://postgres@{}/{database}?sslmode=disable", self.address)
    }

    fn change(&self, change: impl FnOnce(&mut Rules)) {
        self.shared.rules.send_modify(change);
    }

    /// Leads new connections to the server on this port, and resets the present ones.
    pub(crate) fn lead_to(&self, server: u16) {
        self.change(|rules| rules.upstream = local(server));
        self.reset();
    }

    pub(crate) fn set_gate(&self, gate: Gate) {
        self.change(|rules| rules.gate = gate);
    }

    pub(crate) fn set_notifications(&self, notifications: Notifications) {
        self.change(|rules| rules.notifications = notifications);
    }

    /// Sets the speed of the listener's connection.
    pub(crate) fn slow_down(&self, bytes_per_second: Option<u32>) {
        self.change(|rules| rules.bytes_per_second = bytes_per_second);
    }

    /// Resets all connections. New ones are accepted.
    pub(crate) fn reset(&self) {
        for link in locked(&self.shared.links).drain(..).filter_map(|link| link.upgrade()) {
            link.reset.send_replace(true);
        }
    }

    pub(crate) fn set_trap(&self, trap: Trap) {
        *locked(&self.shared.trap) = Some(trap);
    }

    /// Whether the trap has sprung, or was taken away.
    pub(crate) fn has_sprung(&self) -> bool {
        locked(&self.shared.trap).is_none()
    }

    /// Ends all faults. Connections that were stalled are reset.
    pub(crate) fn heal(&self) {
        *locked(&self.shared.trap) = None;
        self.change(|rules| {
            rules.gate = Gate::Open;
            rules.notifications = Notifications::Forwarded;
            rules.bytes_per_second = None;
        });
        let links: Vec<_> = locked(&self.shared.links).iter().filter_map(Weak::upgrade).collect();
        for link in links.iter().filter(|link| link.stalled.load(Ordering::SeqCst)) {
            link.reset.send_replace(true);
        }
    }
}

async fn accept(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a runtime's thread");
    loop {
        let (client, _) = listener.accept().await.expect("the proxy accepts");
        tokio::spawn(serve(client, Arc::clone(&shared)));
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut rules = shared.rules.subscribe();
    let Rules { upstream, gate, .. } = *rules.borrow();
    // As the refusal of a server that does not run.
    let refuse = || client.set_zero_linger().expect("the socket is open");
    if gate == Gate::Cut {
        return refuse();
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return refuse() };
    for socket in [&client, &server] {
        socket.set_nodelay(true).expect("the socket is open");
    }
    let (reset, mut is_reset) = watch::channel(false);
    let link = Arc::new(Link { role: Mutex::new(None), stalled: AtomicBool::new(false), reset });
    {
        let mut links = locked(&shared.links);
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
    }
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let torn = tokio::select! {
        torn = pump(&mut from_client, &mut to_server, Direction::ToServer, &link, &shared) => torn,
        torn = pump(&mut from_server, &mut to_client, Direction::ToClient, &link, &shared) => torn,
        _ = is_reset.wait_for(|reset| *reset) => true,
        _ = rules.wait_for(|rules| rules.gate == Gate::Cut) => true,
    };
    if torn {
        // It may be closed already.
        from_client.as_ref().set_zero_linger().unwrap_or_default();
        from_server.as_ref().set_zero_linger().unwrap_or_default();
    }
}

/// Forwards messages in one direction until the connection ends. Returns whether both ends are to see a reset.
async fn pump(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    direction: Direction,
    link: &Link,
    shared: &Shared,
) -> bool {
    let mut from = BufReader::new(from);
    let mut rules = shared.rules.subscribe();
    let mut startup = direction == Direction::ToServer;
    loop {
        let message = match Message::read(&mut from, startup).await {
            Ok(Some(message)) => message,
            Ok(None) => return false,
            Err(_) => return true,
        };
        startup = false;
        let current = rules.wait_for(|rules| rules.gate != Gate::Stalled).await.map(|rules| *rules);
        let Ok(Rules { notifications, bytes_per_second, .. }) = current else { return true };
        let role = role_of(link, &message, direction);
        let sprung = spring(shared, direction, role);
        if let Some(trap) = sprung
            && !trap.forward
            && perform(trap.action, link).await
        {
            return true;
        }
        if link.stalled.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let copies = match notifications {
            _ if !message.is_notification(direction) => 1,
            Notifications::Forwarded => 1,
            Notifications::Swallowed => 0,
            Notifications::Repeated(times) => times,
        };
        if let Some(speed) = bytes_per_second
            && role == Some(Role::Listener)
        {
            let pause = Duration::from_secs(1).mul_f64(message.bytes.len() as f64 / f64::from(speed));
            tokio::time::sleep(pause).await;
        }
        for _ in 0..copies {
            if to.write_all(&message.bytes).await.is_err() {
                return true;
            }
        }
        if let Some(trap) = sprung
            && trap.forward
            && perform(trap.action, link).await
        {
            return true;
        }
    }
}

fn role_of(link: &Link, message: &Message, direction: Direction) -> Option<Role> {
    let mut role = locked(&link.role);
    // The heartbeat's session also registers the process, and the listener also probes.
    if direction == Direction::ToServer && matches!(*role, None | Some(Role::Pool)) {
        *role = message.role().or(*role);
    }
    *role
}

/// Counts a message, and takes the trap if it is the one.
fn spring(shared: &Shared, direction: Direction, role: Option<Role>) -> Option<Trap> {
    let mut waiting = locked(&shared.trap);
    let trap = waiting.as_mut()?;
    if trap.direction != direction || (trap.role.is_some() && trap.role != role) {
        return None;
    }
    match trap.after.checked_sub(1) {
        Some(left) => {
            trap.after = left;
            None
        }
        None => waiting.take(),
    }
}

/// Performs the action of a trap. Returns whether the connection ends.
async fn perform(action: Action, link: &Link) -> bool {
    match action {
        Action::Cut => return true,
        Action::Stall => link.stalled.store(true, Ordering::SeqCst),
        Action::Delay(delay) => tokio::time::sleep(delay).await,
        Action::Kill(process) => {
            let killed = Command::new("kill").args(["-KILL", &process.to_string()]).status();
            killed.expect("there is a kill command");
        }
    }
    false
}
