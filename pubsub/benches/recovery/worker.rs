//! The worker: this binary started again. It writes its records as lines to its standard output.

use crate::records::{ProcessNumber, Record, Records, now};
use crate::work::{DEADLINE, EVEN, Order, SLOW_ONES, TYPICAL, Work};
use pubsub::{Delivery, PubSub};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The environment of a worker: its database, and its handler's time for a slow event.
const DATABASE: &str = "PUBSUB_BENCH_WORKER_DATABASE";
const SLOW_MS: &str = "PUBSUB_BENCH_WORKER_SLOW_MS";

/// The subscription that all processes share.
pub(crate) const SUBSCRIPTION: &str = "shared";

/// Returns the database and the work of a worker; `None` in the benchmark itself.
pub(crate) fn part() -> Option<(String, Work)> {
    let url = std::env::var(DATABASE).ok()?;
    let slow = std::env::var(SLOW_MS).ok()?.parse().ok()?;
    Some((url, Work { slow: Duration::from_millis(slow), ..EVEN }))
}

/// Works until it is killed, or the benchmark ends.
pub(crate) async fn work(url: String, work: Work) {
    std::thread::spawn(|| {
        let mut line = String::new();
        while std::io::stdin().read_line(&mut line).is_ok_and(|read| read > 0) {}
        std::process::exit(1);
    });
    let _pubsub = serve(&url, work, |order, finished| {
        let (what, at) = (if finished { "finished" } else { "started" }, now().as_nanos());
        // Written in one piece, so that a kill leaves whole lines.
        let line = format!("{what} {order} {at}\n");
        std::io::stdout().lock().write_all(line.as_bytes()).expect("the benchmark listens");
    })
    .await;
    std::future::pending::<()>().await;
}

/// Starts a runtime with default settings, whose handler records its starts and ends.
pub(crate) async fn serve(
    url: &str,
    work: Work,
    note: impl Fn(u64, bool) + Clone + Send + Unpin + 'static,
) -> PubSub {
    PubSub::builder(url)
        .subscribe_fn(SUBSCRIPTION, move |order: Delivery<Order>| {
            let note = note.clone();
            note(order.order, false);
            async move {
                let slow = order.order.is_multiple_of(SLOW_ONES);
                tokio::time::sleep(if slow { work.slow } else { TYPICAL }).await;
                note(order.order, true);
                Ok(())
            }
        })
        .start()
        .await
        .expect("a runtime")
}

/// A worker that the benchmark has started. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) number: ProcessNumber,
    child: Child,
    reader: Option<JoinHandle<()>>,
    _stdin: ChildStdin,
}

impl Worker {
    pub(crate) fn start(number: ProcessNumber, url: &str, work: Work, records: &Records) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a binary has a path"))
            .env(DATABASE, url)
            .env(SLOW_MS, work.slow.as_millis().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the benchmark can be started again");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        let records = records.clone();
        let reader = std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                records.add(parse(number, &line).expect("whole lines"));
            }
        });
        let stdin = child.stdin.take().expect("its input is piped");
        Self { number, child, reader: Some(reader), _stdin: stdin }
    }

    /// Waits until the worker has finished this many events.
    pub(crate) async fn warm(&self, records: &Records, events: usize) {
        let until = Instant::now() + DEADLINE;
        while records.finished(self.number) < events {
            assert!(Instant::now() < until, "the worker gets no work");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends a signal, by name.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(status.expect("there is a kill command").success(), "kill -{name} works");
    }

    /// The worker's process id.
    pub(crate) fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Kills the worker at once, and reads its last lines.
    pub(crate) fn kill(&mut self) {
        // The worker may be dead already.
        self.child.kill().unwrap_or_default();
        self.child.wait().map(drop).unwrap_or_default();
        if let Some(reader) = self.reader.take() {
            reader.join().expect("whole lines");
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn parse(number: ProcessNumber, line: &str) -> Option<Record> {
    let mut words = line.split(' ');
    let finished = words.next()? == "finished";
    let order = words.next()?.parse().ok()?;
    let at = Duration::from_nanos(words.next()?.parse().ok()?);
    Some(Record { process: number, order, at, finished })
}
