//! Child processes of a test: the test binary, started again to run one ignored test.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The environment variable with the URL of the child's database.
const DATABASE: &str = "PUBSUB_TEST_CHILD_DATABASE";

/// The prefix of a child's reports on its standard output.
const REPORT: &str = "child reports: ";

/// A child process, killed when this value is dropped.
#[derive(Debug)]
pub struct ChildProcess {
    child: Child,
    reports: Receiver<String>,
    // The child exits when its standard input ends, so that it does not outlive a killed test.
    _stdin: ChildStdin,
}

impl ChildProcess {
    /// Runs the ignored test `test` of this binary (its full path) on a database.
    pub fn start(test: &str, database_url: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("a test binary has a path"));
        command.args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"]);
        Self::run(command, database_url)
    }

    /// Runs a command whose process calls [`in_child_process`].
    pub fn run(mut command: Command, database_url: &str) -> Self {
        let mut child = command
            .env(DATABASE, database_url)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command can be started");
        let (sender, reports) = channel();
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                // The test runner may have written to the same line before.
                if let Some((_, report)) = line.split_once(REPORT)
                    && sender.send(report.to_owned()).is_err()
                {
                    return;
                }
            }
        });
        let stdin = child.stdin.take().expect("its input is piped");
        Self { child, reports, _stdin: stdin }
    }

    /// Waits for the child's next report.
    pub async fn next(&self) -> String {
        let until = std::time::Instant::now() + crate::deadline::DEADLINE;
        loop {
            match self.reports.try_recv() {
                Ok(report) => return report,
                Err(_) if std::time::Instant::now() > until => panic!("the child reported nothing in time"),
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

    /// The child's process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether the child has not exited.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// The reports that have arrived.
    pub fn reports(&self) -> Vec<String> {
        self.reports.try_iter().collect()
    }

    /// Waits until the child has exited.
    pub async fn exited(&mut self) -> ExitStatus {
        let until = std::time::Instant::now() + crate::deadline::DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(std::time::Instant::now() < until, "the child does not exit");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        // It may have exited by itself.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
    }
}

/// Returns the URL of the child's database and a function that reports to the parent. `None` unless the process was
/// started by [`ChildProcess::start`].
pub fn in_child_process() -> Option<(String, impl Fn(&str) + Clone + Send + Sync + 'static)> {
    let database_url = std::env::var(DATABASE).ok()?;
    // Exits with the parent, also when the parent is killed.
    std::thread::spawn(|| {
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
        std::process::exit(1);
    });
    Some((database_url, |report: &str| {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        writeln!(out, "{REPORT}{report}").and_then(|()| out.flush()).expect("the parent reads");
    }))
}
