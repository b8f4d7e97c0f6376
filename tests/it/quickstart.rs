//! The quickstart runs as the README says: `cargo run --example quickstart`.

use pubsub::testing::Database;
use pubsub_tests::{PgBouncer, TlsServer};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};
use tokio_postgres::NoTls;

/// Long enough to compile the example.
const DEADLINE: Duration = Duration::from_secs(600);

/// The insert of the demo that this library comes from.
const SEED_INSERT: &str =
    r#"INSERT INTO db_events (channel, payload) VALUES ('sms', '{ "msg": "yoloooo!" }')"#;

#[test]
fn the_demo_runs_on_a_machine_without_a_database_url() {
    let mut quickstart = Quickstart::start(&["--demo"], None);
    let output = quickstart.rest();
    assert!(quickstart.end().success(), "{output}");

    let figure = |name: &str| -> u64 {
        let summary = output.split_once("Summary").unwrap_or_else(|| panic!("no summary in:\n{output}")).1;
        let line = summary.lines().find_map(|line| line.trim().strip_prefix(name));
        let figure =
            line.and_then(|line| line.split_whitespace().next()).and_then(|figure| figure.parse().ok());
        figure.unwrap_or_else(|| panic!("no figure `{name}` in:\n{summary}"))
    };
    assert_eq!(figure("published"), 8, "{output}");
    assert!(figure("handled") >= 11, "every subscription has every event, e-mails have two:\n{output}");
    assert!(figure("retried") >= 1, "{output}");
    assert!(figure("restarted") >= 1, "{output}");
    assert_eq!(figure("dead letters"), 1, "{output}");
    assert_eq!(figure("redriven"), 1, "{output}");
    assert!(!output.contains('\u{1b}'), "colours are for terminals:\n{output}");
}

#[actix::test]
async fn the_demo_runs_twice_in_one_database() {
    let database = Database::empty().await.unwrap();
    for _ in 0..2 {
        let mut quickstart = Quickstart::start(&["--demo"], Some(&database));
        let output = quickstart.rest();
        assert!(quickstart.end().success(), "{output}");
    }
}

#[actix::test]
async fn the_demo_runs_on_a_server_with_tls_alone() {
    let Some(mut server) = TlsServer::start().await else { return };
    server.admit("hostssl all all all trust");
    let url = server.trusting_url("application_name=shop");
    let mut quickstart = Quickstart::start_with(&["--demo"], &[("DATABASE_URL", &url)]);
    let output = quickstart.rest();
    assert!(quickstart.end().success(), "{output}");
    assert_eq!(server.was_encrypted("shop"), Some(true));
    // The shop is not told to trust it.
    let mut refused = Quickstart::start_with(&["--demo"], &[("DATABASE_URL", &server.url(""))]);
    let output = refused.rest();
    assert!(!refused.end().success(), "{output}");
}

#[actix::test]
async fn the_demo_runs_through_a_pooler_in_transaction_mode() {
    let database = Database::empty().await.unwrap();
    let Some(pooler) = PgBouncer::start(database.url(), "transaction", "default_pool_size = 3").await else {
        return;
    };
    let pooled = pooler.url(database.name());
    let urls = [("DATABASE_URL", &*pooled), ("DIRECT_DATABASE_URL", database.url())];
    let mut quickstart = Quickstart::start_with(&["--demo"], &urls);
    let output = quickstart.rest();
    assert!(quickstart.end().success(), "{output}");
}

#[actix::test]
async fn the_example_handles_a_plain_insert_and_exits_on_sigterm() {
    let database = Database::empty().await.unwrap();
    let mut quickstart = Quickstart::start(&["--port", "0"], Some(&database));
    let (_, address) = quickstart.line_with("serving").split_once("http://").map(owned).expect("an address");
    // Not the URL itself, which may have a password.
    quickstart.line_with("PGOPTIONS=-csearch_path=pubsub psql \"$DATABASE_URL\"");
    let insert = quickstart.next_line();
    assert_eq!(insert, SEED_INSERT);
    quickstart.line_with("Ctrl-C");

    let (status, body) = post(&address, "/users", r#"{ "name": "Bob", "email": "bob" }"#);
    assert_eq!(status, 400);
    assert!(body.contains(r#"{"field":"email","problem":"`bob` is not an e-mail address"}"#), "{body}");

    let (client, connection) = tokio_postgres::connect(database.url(), NoTls).await.unwrap();
    actix::spawn(connection);
    client.batch_execute(&format!("set search_path = pubsub; {insert}")).await.unwrap();
    quickstart.line_with("text message no. 1 of this actor: yoloooo!");

    quickstart.terminate();
    let output = quickstart.rest();
    assert!(quickstart.end().success(), "{output}");
    assert!(output.contains("Closed"), "{output}");
}

/// The running example.
struct Quickstart {
    process: Child,
    lines: mpsc::Receiver<String>,
    output: String,
}

impl Quickstart {
    /// Starts the example as the README says. Without a database it starts a server of its own.
    fn start(arguments: &[&str], database: Option<&Database>) -> Self {
        let database = database.map(|database| ("DATABASE_URL", database.url()));
        Self::start_with(arguments, database.as_slice())
    }

    /// Starts the example in this environment.
    fn start_with(arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let workspace =
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in a workspace");
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory");
        let mut command = Command::new(env!("CARGO"));
        command.args(["run", "--quiet", "--example", "quickstart"]).current_dir(workspace);
        command.arg("--target-dir").arg(target);
        if !cfg!(debug_assertions) {
            command.arg("--release");
        }
        command
            .arg("--")
            .args(arguments)
            .env_remove("DATABASE_URL")
            .env_remove("DIRECT_DATABASE_URL")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut process = command.spawn().expect("cargo runs");
        let (sender, lines) = mpsc::channel();
        let output = process.stdout.take().expect("its output is piped");
        thread::spawn(move || forward(output, &sender));
        Self { process, lines, output: String::new() }
    }

    fn next_line(&mut self) -> String {
        let line = self.lines.recv_timeout(DEADLINE);
        let line = line.unwrap_or_else(|error| panic!("{error}; its output so far:\n{}", self.output));
        self.output.push_str(&line);
        self.output.push('\n');
        line
    }

    /// Waits for the next line that contains `part`.
    fn line_with(&mut self, part: &str) -> String {
        loop {
            let line = self.next_line();
            if line.contains(part) {
                return line;
            }
        }
    }

    /// Reads everything until the example closes its output.
    fn rest(&mut self) -> String {
        let until = Instant::now() + DEADLINE;
        while let Ok(line) = self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            self.output.push_str(&line);
            self.output.push('\n');
        }
        self.output.clone()
    }

    /// Sends SIGTERM. The example has the process id of `cargo run`.
    fn terminate(&self) {
        let kill = ["-c", "kill -s TERM \"$0\"", &self.process.id().to_string()].map(str::to_owned);
        assert!(Command::new("/bin/sh").args(kill).status().expect("a shell runs").success());
    }

    fn end(&mut self) -> std::process::ExitStatus {
        self.process.wait().expect("it is our child")
    }
}

impl Drop for Quickstart {
    fn drop(&mut self) {
        // Both fail if it has exited, which is the goal.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn forward(output: ChildStdout, lines: &mpsc::Sender<String>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if lines.send(line).is_err() {
            return;
        }
    }
}

fn owned((before, after): (&str, &str)) -> (String, String) {
    (before.to_owned(), after.to_owned())
}

/// Sends one HTTP request, and returns its status and its body.
fn post(address: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("the shop is open");
    stream.set_read_timeout(Some(DEADLINE)).expect("a limit above zero");
    let length = body.len();
    write!(stream, "POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
        .expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer in text");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}
