//! Errors of a payload.

/// The reason why an event cannot be published: the source of
/// [`Error::InvalidPayload`](crate::Error::InvalidPayload).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PayloadError {
    /// serde cannot write it.
    #[error("it cannot be written as JSON")]
    Unserializable(#[source] serde_json::Error),

    /// The type that publishes it cannot read it back. A float that is not finite is the usual cause: JSON has none, and serde
    /// writes `null`. Serde's text is left out, because it quotes the payload.
    #[error(
        "its type cannot read what it wrote, from byte {at} of the JSON on: a float that is NaN or infinite is written as \
         null, and a field that is skipped needs a default"
    )]
    Unreadable {
        /// The position in the JSON text where reading failed, from 1.
        at: usize,
    },

    /// A text contains a NUL character, which PostgreSQL's `jsonb` cannot store.
    #[error("it contains a NUL character (\\u0000) at byte {at} of its JSON, which PostgreSQL cannot store")]
    Nul {
        /// The position in the JSON text.
        at: usize,
    },

    /// It nests too deeply for its readers.
    #[error("it nests deeper than {limit} levels")]
    TooDeep {
        /// The deepest nesting that is published.
        limit: usize,
    },

    /// The key or the deduplication key contains a NUL character, which PostgreSQL's `text` cannot store.
    #[error("its key contains a NUL character at byte {at}, which PostgreSQL cannot store")]
    NulInKey {
        /// The position in the key.
        at: usize,
    },

    /// The key or the deduplication key is too long to be indexed.
    #[error("its key has {bytes} bytes, and the limit is {limit}")]
    KeyTooLong {
        /// The key's length.
        bytes: usize,
        /// The longest key that is published.
        limit: usize,
    },

    /// The database refused it, with a message that quotes it. Only for channels with redacted fields; the message of others is
    /// in [`Error::Database`](crate::Error::Database).
    #[error(
        "the database refused it (SQLSTATE {sqlstate}); its words are withheld, because they may quote a redacted field"
    )]
    Refused {
        /// The database's code for the error, or `unknown` if the driver does not tell it.
        sqlstate: String,
    },
}
