//! What a throwaway server can be told.

use std::path::PathBuf;

/// How a throwaway server runs.
///
/// # Examples
/// ```
/// use pubsub::testing::Options;
///
/// let durable = Options { fsync: true, ..Options::default() };
/// let logical = Options { settings: vec![("wal_level".into(), "logical".into())], ..Options::default() };
/// # drop((durable, logical));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Write to the disk as a production server does; off by default, because only a crash of the whole machine could
    /// tell the difference. Turn it on to measure.
    pub fsync: bool,

    /// The directory with the binaries of the server's version; those of this machine unless given.
    pub bin_dir: Option<PathBuf>,

    /// Settings as in `postgresql.conf`. They win over ours.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// All settings, ours first: of two with one name, `postgres` takes the later.
    pub(super) fn all(&self) -> Vec<(String, String)> {
        // Not `synchronous_commit`: a commit must survive `Mode::Immediate`.
        let durable = if self.fsync { "on" } else { "off" };
        let ours = [
            ("fsync", durable),
            ("full_page_writes", durable),
            ("max_connections", "200"),
            ("max_prepared_transactions", "64"),
            ("shared_buffers", "128MB"),
        ];
        let ours = ours.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
        ours.chain(self.settings.iter().cloned()).collect()
    }
}

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Roll back what is open, close all connections, write everything down.
    Fast,

    /// Drop everything at once, as in a crash: the next start recovers from the log.
    Immediate,
}
