//! Other processes in a test: the test binary again, told to play a role.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The environment variable that tells a role its database.
const DATABASE: &str = "PUBSUB_TEST_ROLE_DATABASE";

/// What a role writes in front of what it has to tell.
const TELL: &str = "role tells: ";

/// A process that plays a role. Killed when dropped.
#[derive(Debug)]
pub struct Role {
    child: Child,
    told: Receiver<String>,
    // Open as long as the role shall live: a role whose director dies ends too.
    _stdin: ChildStdin,
}

impl Role {
    /// Starts the ignored test `test` of this binary (its full path) on a database.
    pub fn start(test: &str, database_url: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a test binary has a path"))
            .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
            .env(DATABASE, database_url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test binary can be started again");
        let (sender, told) = channel();
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                // Behind whatever the test runner has left on the line.
                if let Some((_, told)) = line.split_once(TELL)
                    && sender.send(told.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let stdin = child.stdin.take().expect("its input is piped");
        Self { child, told, _stdin: stdin }
    }

    /// The next thing that the role tells.
    pub async fn next(&self) -> String {
        let until = std::time::Instant::now() + crate::DEADLINE;
        loop {
            match self.told.try_recv() {
                Ok(told) => return told,
                Err(_) if std::time::Instant::now() > until => panic!("the role told nothing in time"),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    /// Sends a signal, by name: `KILL`, `STOP`, `CONT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status()
            .expect("there is a kill command");
        assert!(status.success(), "kill -{name} works");
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let until = std::time::Instant::now() + crate::DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(std::time::Instant::now() < until, "the role does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// The inside of a role: its database, and a voice. `None` in an ordinary run of the ignored tests.
pub fn play() -> Option<(String, impl Fn(&str) + Clone + Send + Sync + 'static)> {
    let database_url = std::env::var(DATABASE).ok()?;
    // Ends with whoever started it, also when that was killed.
    std::thread::spawn(|| {
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
        std::process::exit(1);
    });
    Some((database_url, |what: &str| {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{TELL}{what}").and_then(|()| out.flush()).expect("the director listens");
    }))
}
