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

/// What can travel as an event: owned data that serde can write and read back.
///
/// Implemented for every such type; there is nothing to write. serde's traits are not its supertraits, so that a type
/// that lacks them is told so in one sentence, and not once for each of them.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the payload of a channel",
    label = "needs `Serialize` and `Deserialize`, without borrowed data",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to `{Self}`",
    note = "a payload may not borrow: use `String` instead of `&str`"
)]
pub trait Payload: Sized + Send + 'static {
    /// As JSON text.
    #[doc(hidden)]
    fn to_json(&self) -> serde_json::Result<String>;

    /// From JSON text.
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

    /// One or more sentences for the catalog; the derive takes the type's doc comment.
    const DESCRIPTION: &'static str = "";

    /// Version of the payload's shape, from 1. Stored with every event.
    const VERSION: u32 = 1;

    /// Fingerprint of the payload's shape, as it is written: names of fields, types and serde attributes, through nested
    /// types that have a [`Shape`](trait@crate::Shape). 0 is not known; the derive computes it.
    const FINGERPRINT: u64 = 0;

    /// How often a delivery is started at most before it becomes a dead letter, from 1.
    const MAX_ATTEMPTS: u32 = DEFAULT_MAX_ATTEMPTS;

    /// How many panics of its handler make an event a dead letter, from 1, even if attempts remain.
    const MAX_PANICS: u32 = DEFAULT_MAX_PANICS;

    /// How long a handler may take for one delivery before it is cancelled and the attempt counts as failed; `None` is as
    /// long as it likes.
    const TIMEOUT: Option<Duration> = None;

    /// How long a delivery waits between two attempts.
    const BACKOFF: Backoff = Backoff::DEFAULT;

    /// How long an event stays in the log after every subscription has handled it. Written to the database whenever a process
    /// that declares the channel starts.
    const RETENTION: Retention = Retention::Default;

    /// Whether subscriptions handle the events of one key one after another, unless they say otherwise:
    /// [`SubscribeOptions::ordered`](crate::SubscribeOptions::ordered).
    const ORDERED: bool = false;

    /// The fields whose values appear in no log, in no `Debug` of a [`Delivery`](crate::Delivery), and in no error text
    /// that is stored.
    const REDACTED: &'static [&'static str] = &[];

    /// What the event belongs to: an order, a customer. Publishing takes it, unless
    /// [`PublishOptions::key`](crate::PublishOptions::key) says another.
    fn key(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// What makes an event the same as another: one whose dedupe key was published on the channel within its window, a
    /// day unless set by `pubsub.set_dedupe_window`, is not published again. At most 1,024 bytes.
    fn dedupe_key(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// For the `Debug` of a delivery: without the redacted fields.
    #[doc(hidden)]
    fn fmt_payload(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result
    where
        Self: fmt::Debug,
    {
        fmt::Debug::fmt(self, f)
    }

    /// Reads the payload of an event of some version. The derive reads older ones by `upcast_from`.
    ///
    /// # Errors
    /// If the payload is not what its version says, or nothing here can read that version.
    #[doc(hidden)]
    fn decode(version: u32, json: &[u8]) -> Result<Self, DecodeError> {
        older_version::read_exactly(version, Self::VERSION, || Self::from_json(json))
    }

    /// Whether the database holds payloads against the channel's JSON Schema when they are published, and refuses others
    /// with [`Error::PayloadMismatch`](crate::Error::PayloadMismatch). Needs the feature `schema`, and a payload that derives
    /// `schemars::JsonSchema`. `docs/sql-contract.md` says what is checked; it costs the publisher some time per field.
    const STRICT: bool = false;

    /// The payload's JSON Schema, if it has one: the derive finds that of `schemars::JsonSchema`.
    #[doc(hidden)]
    fn json_schema() -> Option<serde_json::Value> {
        None
    }
}

/// The panics of a channel that says nothing else.
pub(crate) const DEFAULT_MAX_PANICS: u32 = 3;
