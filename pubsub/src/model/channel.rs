//! A typed, named stream of events.

use crate::contract::older_version::{self, DecodeError};
use crate::model::backoff::Backoff;
use crate::model::limits::DEFAULT_MAX_ATTEMPTS;
use crate::model::retention::Retention;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

/// Owned data that serde can write and read back, and that can therefore travel as an event.
///
/// Implemented for every such type; there is nothing to write. serde's traits are not its supertraits, so that the compiler
/// reports a type without them in one error, and not in one for each of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the payload of a channel",
    label = "needs `Serialize` and `Deserialize`, without borrowed data",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to `{Self}`",
    note = "a payload may not borrow: use `String` instead of `&str`"
)]
pub trait Payload: Sized + Send + 'static {
    /// Writes the payload as JSON text.
    #[doc(hidden)]
    fn to_json(&self) -> serde_json::Result<String>;

    /// Reads the payload from JSON text.
    #[doc(hidden)]
    fn from_json(json: &[u8]) -> serde_json::Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Payload for T {
    fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }
}

/// Binds a payload type to its channel. Derive it:
///
/// ```
/// use pubsub::Channel;
/// use serde::{Deserialize, Serialize};
///
/// /// A text message to a customer's phone.
/// #[derive(Serialize, Deserialize, Channel)]
/// #[channel("sms", max_attempts = 8, backoff(initial = "1s", factor = 2.0, max = "15m", jitter = 0.2))]
/// struct Sms {
///     msg: String,
/// }
///
/// assert_eq!(Sms::NAME, "sms");
/// assert_eq!(Sms::MAX_ATTEMPTS, 8);
/// assert_eq!(Sms::DESCRIPTION, "A text message to a customer's phone.");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not bound to a channel",
    label = "not a channel",
    note = "add `#[derive(pubsub::Channel)]` and `#[channel(\"some.name\")]` to `{Self}`"
)]
pub trait Channel: Payload {
    /// The channel's name, as it stands in `pubsub.db_events.channel`: 1 to 63 characters of `a-z 0-9 . _ -`,
    /// starting with a letter or a digit.
    const NAME: &'static str;

    /// The description in the database, one or more sentences. The derive takes the type's doc comment.
    const DESCRIPTION: &'static str = "";

    /// Version of the payload's shape, from 1. Stored with every event.
    const VERSION: u32 = 1;

    /// Fingerprint of the payload's shape: the names of its fields, their types and serde attributes, and the shapes of nested
    /// types that have a [`Shape`](trait@crate::Shape). The derive computes it. 0 means that it is not known.
    const FINGERPRINT: u64 = 0;

    /// The number of attempts after which a delivery becomes a dead letter, from 1.
    const MAX_ATTEMPTS: u32 = DEFAULT_MAX_ATTEMPTS;

    /// The number of panics of its handler after which a delivery becomes a dead letter, even if attempts remain; from 1.
    const MAX_PANICS: u32 = DEFAULT_MAX_PANICS;

    /// The number of deaths of its process after which a delivery becomes a dead letter, even if attempts remain; from 1. See
    /// [`SubscribeOptions::max_crashes`](crate::SubscribeOptions::max_crashes).
    const MAX_CRASHES: u32 = DEFAULT_MAX_CRASHES;

    /// The time that a handler has for one delivery. After it the delivery is cancelled, and the attempt counts as failed.
    /// `None` is no limit.
    const TIMEOUT: Option<Duration> = None;

    /// The delays between the attempts of a delivery.
    const BACKOFF: Backoff = Backoff::DEFAULT;

    /// The time that an event stays in the log after every subscription has handled it. Each process that declares the channel
    /// writes it to the database when it starts.
    const RETENTION: Retention = Retention::Default;

    /// Whether subscriptions handle the events of one key one after another. A subscription can choose otherwise with
    /// [`SubscribeOptions::ordered`](crate::SubscribeOptions::ordered) or
    /// [`SubscribeOptions::unordered`](crate::SubscribeOptions::unordered).
    const ORDERED: bool = false;

    /// The fields whose values appear in no log, in no `Debug` output of a [`Delivery`](crate::Delivery), and in no stored
    /// error text.
    const REDACTED: &'static [&'static str] = &[];

    /// The entity that the event belongs to: an order, a customer. [`PublishOptions::key`](crate::PublishOptions::key) takes
    /// precedence over it.
    fn key(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The deduplication key: an event is not published if one with the same key was published on the channel within its
    /// deduplication window. The window is a day unless `pubsub.set_dedupe_window` changed it. At most 1,024 bytes.
    fn dedupe_key(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Writes the payload for the `Debug` output of a delivery, without the redacted fields.
    #[doc(hidden)]
    fn fmt_payload(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result
    where
        Self: fmt::Debug,
    {
        fmt::Debug::fmt(self, f)
    }

    /// Reads the payload of an event of any version. The derive reads older versions through `upcast_from`.
    ///
    /// # Errors
    /// If the payload does not match its version, or this type cannot read that version.
    #[doc(hidden)]
    fn decode(version: u32, json: &[u8]) -> Result<Self, DecodeError> {
        older_version::read_exactly(version, Self::VERSION, || Self::from_json(json))
    }

    /// Whether the database checks payloads against the channel's JSON Schema when they are published. It refuses a payload that
    /// does not match with [`Error::PayloadMismatch`](crate::Error::PayloadMismatch). Needs the feature `schema`, and a payload
    /// that derives `schemars::JsonSchema`. `docs/sql-contract.md` lists the keywords that are checked. The check costs the
    /// publisher some time per field.
    const STRICT: bool = false;

    /// The payload's JSON Schema, if it has one. The derive takes that of `schemars::JsonSchema`.
    #[doc(hidden)]
    fn json_schema() -> Option<serde_json::Value> {
        None
    }
}

/// [`Channel::MAX_PANICS`] unless a channel sets it.
pub(crate) const DEFAULT_MAX_PANICS: u32 = 3;

/// [`Channel::MAX_CRASHES`] unless a channel sets it.
pub(crate) const DEFAULT_MAX_CRASHES: u32 = 3;
