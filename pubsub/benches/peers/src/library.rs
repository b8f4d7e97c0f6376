//! A library in Rust, as its own process sees it.

use crate::job::Job;
use crate::order::Order;
use anyhow::Result;
use async_trait::async_trait;
use futures_util::future::LocalBoxFuture;

/// A library in Rust.
#[async_trait(?Send)]
pub(crate) trait Library {
    /// Creates its schema and its consumers in an empty database.
    async fn install(&self, job: &Job) -> Result<()>;

    /// Connects `job.connections` times.
    async fn publisher(&self, job: &Job) -> Result<Box<dyn Publisher>>;

    /// Starts to handle events with [`crate::handler`].
    async fn work(&self, job: &Job) -> Result<Stop>;

    /// The runtime that its documentation asks for.
    fn runtime(&self) -> Runtime {
        Runtime::Tokio
    }
}

/// Publishes for a library. A connection is named by its number.
#[async_trait(?Send)]
pub(crate) trait Publisher {
    /// Publishes an event to all consumers, in a transaction of its own.
    async fn publish(&self, connection: usize, order: &Order) -> Result<()>;

    /// Publishes events to all consumers with the library's call for many.
    async fn publish_all(&self, connection: usize, orders: &[Order]) -> Result<()>;
}

/// Stops a worker, and lets it finish what it has begun.
pub(crate) type Stop = LocalBoxFuture<'static, Result<()>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// tokio's, with a thread for each core.
    Tokio,
    /// An actix system.
    Actix,
}
