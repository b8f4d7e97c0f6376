//! `tracing` events about a delivery have its channel, subscription, event and attempt.

use pubsub::{Delivery, PubSub};
use pubsub_tests::{ChildProcess, Sms, TestDatabase, in_child_process};
use std::io::Write;

/// A writer that reports each line to the parent process.
#[derive(Clone)]
struct ReportWriter<F>(F);

impl<F: Fn(&str)> Write for ReportWriter<F> {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        (self.0)(String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reports all log lines to the parent process.
pub(crate) fn log_to(report: impl Fn(&str) + Clone + Send + Sync + 'static) {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_max_level(tracing::Level::DEBUG)
        .with_writer(move || ReportWriter(report.clone()))
        .init();
}

/// Fails its first delivery and reports its log.
#[actix::test]
#[ignore = "runs in a child process of other tests"]
async fn child_logs() {
    let Some((url, report)) = in_child_process() else { return };
    log_to(report);
    let pubsub = PubSub::builder(url)
        .subscribe_fn("flaky", |sms: Delivery<Sms>| async move {
            tracing::info!("a log line of the handler");
            if sms.attempt() == 1 { Err("the provider is down".into()) } else { Ok(()) }
        })
        .start()
        .await
        .unwrap();
    pubsub::publish(&pubsub, &Sms::new("hello")).await.unwrap();
    std::future::pending::<()>().await;
}

#[actix::test]
async fn logs_name_channel_subscription_event_and_attempt() {
    let db = TestDatabase::new().await;
    let child = ChildProcess::start("tracing_fields::child_logs", db.url());
    let mut missing = vec![
        // The event of the failure, the event of the successful retry, and the span around the handler's own event.
        ["failed; will be retried", "attempt=1", "error=\"the provider is down\""],
        ["handled", "attempt=2", "DEBUG"],
        ["a log line of the handler", "attempt=1", "delivery{"],
        ["a log line of the handler", "attempt=2", "delivery{"],
    ];
    while !missing.is_empty() {
        let line = child.next().await;
        let named =
            ["channel=\"sms\"", "subscription=\"flaky\"", "event=1"].iter().all(|part| line.contains(part));
        missing.retain(|parts| !(named && parts.iter().all(|part| line.contains(part))));
    }
}
