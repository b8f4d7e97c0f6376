//! Sessions of our own, or a pooler.

/// The kind of a pool's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Through {
    /// Sessions of our own, with our settings.
    Session,
    /// A pooler. Every transaction brings its settings along and takes them away, and nothing is prepared.
    Pooler,
}
