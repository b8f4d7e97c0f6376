//! The options of a throwaway server.

use std::path::PathBuf;

/// The options of a throwaway server.
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
    /// Writes to the disk as a production server does. Off by default, because only a crash of the machine makes a
    /// difference. Turn it on to measure.
    pub fsync: bool,

    /// The directory with the server's binaries. Default: the PostgreSQL of this machine.
    pub bin_dir: Option<PathBuf>,

    /// Settings as in `postgresql.conf`. They take precedence over the defaults of this module.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// All settings, the defaults first: `postgres` uses the last of two with one name.
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

/// A way to stop a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Rolls back open transactions, closes all connections and writes a checkpoint.
    Fast,

    /// Drops everything at once, as in a crash. The next start recovers from the log.
    Immediate,
}
