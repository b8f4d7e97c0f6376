//! How long the log keeps events.

use std::time::Duration;

/// How long a channel's events stay in the log after every subscription has handled them.
///
/// The log is trimmed in whole partitions. So an event may leave later, by up to an eighth of the longest retention or up to an
/// hour, whichever is more. It also waits for the retention of the other channels with events in its partition.
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
    /// The database's setting, which is 7 days unless `pubsub.set_retention` changed it.
    #[default]
    Default,
    /// Events are never removed.
    Forever,
    /// Events are removed after this time, at most 100 years.
    For(Duration),
}
