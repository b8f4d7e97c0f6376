//! A PgBouncer in front of a test's server.

use crate::installation::note_not_run;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Below the ports of outgoing connections, and beside those of the servers.
const PORTS: std::ops::Range<u16> = 30_000..32_000;

/// The longest wait for its port.
const START: Duration = Duration::from_secs(20);

/// A PgBouncer, killed when this value is dropped, or when the test's process ends.
#[derive(Debug)]
pub struct PgBouncer {
    process: Child,
    /// Kills the process when this one has ended, because its input ends.
    watch: Child,
    program: PathBuf,
    directory: PathBuf,
    port: u16,
}

impl PgBouncer {
    /// Starts a PgBouncer for all databases of the server of `url`, in a pool mode, and with more settings, as lines of its
    /// configuration. `None` if this machine has none: the calling test returns at once, and is noted as one that was not run.
    pub async fn start(url: &str, mode: &str, settings: &str) -> Option<Self> {
        let Some(program) = program() else {
            note_not_run("pgbouncer");
            return None;
        };
        let server: tokio_postgres::Config = url.parse().expect("a database URL");
        let tokio_postgres::config::Host::Tcp(host) = &server.get_hosts()[0] else {
            panic!("a pooler needs a TCP address: {url}");
        };
        let directory = std::env::temp_dir().join(format!("pubsub-pgbouncer-{:016x}", fastrand::u64(..)));
        fs::create_dir(&directory).expect("a temporary directory");
        let users = directory.join("users");
        let user = server.get_user().expect("a user");
        fs::write(&users, format!("\"{user}\" \"\"\n")).expect("a file of ours");
        let port = fastrand::u16(PORTS);
        // It refuses to be root.
        let account = if is_root() { "user = postgres" } else { "" };
        let configuration = format!(
            "[databases]\n* = host={host} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nunix_socket_dir =\nauth_type = trust\n\
             auth_file = {}\npool_mode = {mode}\nserver_login_retry = 1\nmax_client_conn = 1000\n{account}\n{settings}\n",
            server.get_ports()[0],
            users.display(),
        );
        fs::write(directory.join("common.ini"), configuration).expect("a file of ours");
        let (process, watch, port) = start_on_a_free_port(&program, &directory, port).await;
        Some(Self { process, watch, program, directory, port })
    }

    /// The URL of a database of the server, through the pooler.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@{}:{}/{database}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// Kills it, as `kill -9` does.
    pub fn kill(&mut self) {
        // The first of them, because the other's id may soon be that of another process.
        for child in [&mut self.watch, &mut self.process] {
            child.kill().expect("it is our child");
            child.wait().expect("it is our child");
        }
    }

    /// Starts it again, on the same port.
    pub async fn start_again(&mut self) {
        let end = Instant::now() + START;
        loop {
            if let Some((process, watch)) = try_start(&self.program, &self.directory, self.port).await {
                (self.process, self.watch) = (process, watch);
                return;
            }
            assert!(Instant::now() < end, "its port is taken");
        }
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // They fail if it is gone, which is the goal.
        finish(&mut self.watch);
        finish(&mut self.process);
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Where Debian installs it is on the `PATH` of root alone.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    directories.map(|directory| directory.join("pgbouncer")).find(|program| program.is_file())
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|of_us| of_us.uid() == 0)
}

async fn start_on_a_free_port(program: &Path, directory: &Path, first: u16) -> (Child, Child, u16) {
    let end = Instant::now() + START;
    let mut port = first;
    loop {
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
            && let Some((process, watch)) = try_start(program, directory, port).await
        {
            return (process, watch, port);
        }
        assert!(Instant::now() < end, "no pgbouncer has started");
        port = fastrand::u16(PORTS);
    }
}

/// Starts it. `None` if it has ended at once.
async fn try_start(program: &Path, directory: &Path, port: u16) -> Option<(Child, Child)> {
    let file = directory.join("pgbouncer.ini");
    let common = fs::read_to_string(directory.join("common.ini")).expect("a file of ours");
    fs::write(&file, format!("{common}listen_port = {port}\n")).expect("a file of ours");
    let log =
        fs::File::options().create(true).append(true).open(directory.join("log")).expect("a file of ours");
    let mut command = Command::new(program);
    let mut process = command
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it can be started");
    let mut watch = Command::new("/bin/sh")
        .args(["-c", "read nothing; kill -9 \"$0\"", &process.id().to_string()])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell");
    let end = Instant::now() + START;
    while Instant::now() < end && process.try_wait().expect("it is our child").is_none() {
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Some((process, watch));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    finish(&mut watch);
    finish(&mut process);
    None
}

/// Ends a child, unless it is gone.
fn finish(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}
