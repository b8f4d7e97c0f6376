//! The outcome of publishing an event.

use super::event::EventId;

/// The outcome of publishing an event.
///
/// # Examples
/// ```
/// # use pubsub::{Channel, Published, publish};
/// # #[derive(serde::Serialize, serde::Deserialize, Channel)]
/// # #[channel("sms", dedupe = "{msg}")]
/// # struct Sms { msg: String }
/// # async fn example(client: &tokio_postgres::Client, sms: Sms) -> Result<(), pubsub::Error> {
/// match publish(client, &sms).await? {
///     Published::New(id) => println!("published as event {id}"),
///     Published::Duplicate(id) => println!("event {id} has said so already"),
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Published {
    /// The event is in the transaction, with this id.
    New(EventId),
    /// Nothing was published: the event with this id has the same deduplication key.
    Duplicate(EventId),
}

impl Published {
    /// The id of the event, or of the earlier event with its deduplication key.
    #[must_use]
    pub fn id(self) -> EventId {
        let (Self::New(id) | Self::Duplicate(id)) = self;
        id
    }

    /// Whether nothing was published.
    #[must_use]
    pub fn is_duplicate(self) -> bool {
        matches!(self, Self::Duplicate(_))
    }
}
