//! The workloads.

/// The work of a counted process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    /// An actor handles a backlog, and answers each event in `handle`.
    Sync,
    /// An async closure does.
    Async,
    /// Single events are published over one connection.
    Publish,
    /// Events are published a thousand to a statement.
    PublishAll,
}

impl Workload {
    pub(crate) const ALL: [Self; 4] = [Self::Sync, Self::Async, Self::Publish, Self::PublishAll];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::Async => "async",
            Self::Publish => "publish",
            Self::PublishAll => "publish_all",
        }
    }

    /// Whether the events are there before the process starts.
    pub(crate) fn has_backlog(self) -> bool {
        matches!(self, Self::Sync | Self::Async)
    }

    /// The events that are counted. They are many, so that the small batches at both ends of a backlog hardly count.
    pub(crate) fn events(self) -> usize {
        match self {
            Self::Sync | Self::Async | Self::PublishAll => 20_000,
            Self::Publish => 2_000,
        }
    }

    /// The runs that are counted. The batches of a backlog depend on time, and publishing does not.
    pub(crate) fn runs(self) -> usize {
        if self.has_backlog() { 3 } else { 1 }
    }
}
