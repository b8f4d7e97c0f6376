//! A probe carries values from handlers to the test.

use crate::deadline::DEADLINE;
use std::fmt::Debug;
use tokio::sync::mpsc;

/// The handlers' end of a probe.
#[derive(Debug)]
pub struct Sender<T>(mpsc::UnboundedSender<T>);

/// The test's end of a probe.
#[derive(Debug)]
pub struct Received<T>(mpsc::UnboundedReceiver<T>);

/// Returns both ends of a new probe.
pub fn probe<T>() -> (Sender<T>, Received<T>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Sender(sender), Received(receiver))
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Sender<T> {
    /// Sends a value to the test.
    pub fn send(&self, value: T) {
        // A test that has ended receives no more.
        self.0.send(value).unwrap_or_default();
    }
}

impl<T: Debug> Received<T> {
    /// Waits for the next value.
    pub async fn next(&mut self) -> T {
        tokio::time::timeout(DEADLINE, self.0.recv())
            .await
            .expect("a value arrives in time")
            .expect("a handler is alive")
    }

    /// Waits for the next `count` values.
    pub async fn take(&mut self, count: usize) -> Vec<T> {
        let mut values = Vec::with_capacity(count);
        for _ in 0..count {
            values.push(self.next().await);
        }
        values
    }

    /// Waits for the next `count` values and sorts them.
    pub async fn take_sorted(&mut self, count: usize) -> Vec<T>
    where
        T: Ord,
    {
        let mut values = self.take(count).await;
        values.sort_unstable();
        values
    }

    /// Returns the values that have arrived and were not taken.
    pub fn rest(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.0.try_recv().ok()).collect()
    }
}
