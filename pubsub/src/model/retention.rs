//! How long the log keeps events.

use std::time::Duration;

/// How long a channel's events stay in the log after every subscription has handled them.
///
/// The log is trimmed in pieces, so events leave up to an eighth of the longest retention later (or up to an hour, if that
/// is more), and not before those of other channels in the same piece.
///
/// # Examples
/// ```
/// use pubsub::{Channel, Retention};
/// use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// #[derive(Serialize, Deserialize, Channel)]
/// #[channel("audit", retention = "30d")]
/// struct Audit;
///
/// assert_eq!(Audit::RETENTION, Retention::For(Duration::from_secs(30 * 86_400)));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Retention {
    /// Nothing is set: the database's own setting holds, which is 7 days unless `pubsub.set_retention` changed it.
    #[default]
    Default,
    /// Events are never removed.
    Forever,
    /// Events are removed after this time, at most 100 years.
    For(Duration),
}
