//! Older versions of a channel's payload, and how their events are read as the newest version.

use super::shape::text::same;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// An earlier version of a channel's payload, which is read and never written.
///
/// Derive it for a version that has a predecessor. A version without one only needs `Deserialize`.
///
/// ```
/// use pubsub::{Channel, OlderVersion};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Deserialize)]
/// struct SmsV1(String);
///
/// #[derive(Deserialize, OlderVersion)]
/// #[channel("sms", version = 2, upcast_from = SmsV1)]
/// struct SmsV2 {
///     msg: String,
/// }
///
/// #[derive(Serialize, Deserialize, Channel)]
/// #[channel("sms", version = 3, upcast_from = SmsV2)]
/// struct Sms {
///     msg: String,
///     sender: Option<String>,
/// }
///
/// impl From<SmsV1> for SmsV2 {
///     fn from(SmsV1(msg): SmsV1) -> Self {
///         Self { msg }
///     }
/// }
///
/// impl From<SmsV2> for Sms {
///     fn from(SmsV2 { msg }: SmsV2) -> Self {
///         Self { msg, sender: None }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the older version of a channel",
    note = "add `#[derive(pubsub::OlderVersion)]` and `#[channel(\"some.name\", version = 1)]` to `{Self}`"
)]
pub trait OlderVersion: Readable {
    /// The channel's name.
    const NAME: &'static str;

    /// The version, from 1.
    const VERSION: u32;

    /// Reads a payload of this version, or of one before it.
    ///
    /// # Errors
    /// If the payload does not match its version, or this type cannot read that version.
    #[doc(hidden)]
    fn decode(version: u32, json: &[u8]) -> Result<Self, DecodeError> {
        read_exactly(version, Self::VERSION, || Self::from_json(json))
    }
}

/// Owned data that serde can read. Implemented for every such type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read as an older version",
    label = "needs `Deserialize`, without borrowed data",
    note = "add `#[derive(serde::Deserialize)]` to `{Self}`"
)]
pub trait Readable: Sized {
    /// Reads JSON text.
    #[doc(hidden)]
    fn from_json(json: &[u8]) -> serde_json::Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned> Readable for T {
    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }
}

/// Converts an older version into the next one. Implemented for every type with `From<Old>`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be made from its older version `{Old}`",
    label = "no conversion from `{Old}` to `{Self}`",
    note = "write `impl From<{Old}> for {Self}`"
)]
pub trait UpcastFrom<Old>: Sized {
    /// Returns the newer version.
    fn upcast(old: Old) -> Self;
}

#[diagnostic::do_not_recommend]
impl<Old, New: From<Old>> UpcastFrom<Old> for New {
    fn upcast(old: Old) -> Self {
        old.into()
    }
}

/// Why the payload of an event cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The JSON does not match the type.
    #[error("{0}")]
    Json(serde_json::Error),
    /// The event is older than every version that this process can read.
    #[error(
        "the event has version {version}, and the oldest version that can be read here is {oldest}: add `upcast_from` to \
         version {oldest}"
    )]
    TooOld {
        /// The event's version.
        version: u32,
        /// The oldest version that can be read.
        oldest: u32,
    },
}

/// Reads a payload with `read`, which knows the version `known` only.
pub(crate) fn read_exactly<T>(
    version: u32,
    known: u32,
    read: impl FnOnce() -> serde_json::Result<T>,
) -> Result<T, DecodeError> {
    // A newer event never gets here: it waits for a process that knows its version.
    if version < known {
        return Err(DecodeError::TooOld { version, oldest: known });
    }
    read().map_err(DecodeError::Json)
}

/// The type of an `upcast_from`. A type that implements [`OlderVersion`] has a version number. Any other type is the version
/// right before, and needs `Deserialize`: see [`UpcastFromPlain`]. The compiler prefers an inherent item to that of a trait
/// where its bounds hold, so it picks the right one.
#[derive(Debug)]
pub struct UpcastSource<T>(PhantomData<T>);

impl<T: OlderVersion> UpcastSource<T> {
    /// The channel and the version.
    pub const OLDER: Option<(&'static str, u32)> = Some((T::NAME, T::VERSION));

    /// Reads a payload of version `version`.
    ///
    /// # Errors
    /// As [`OlderVersion::decode`].
    pub fn decode(version: u32, json: &[u8], _: u32) -> Result<T, DecodeError> {
        T::decode(version, json)
    }
}

/// The fallback for an [`UpcastSource`] that does not implement [`OlderVersion`].
pub trait UpcastFromPlain<T> {
    /// `None`: the type names no channel and no version.
    const OLDER: Option<(&'static str, u32)> = None;

    /// Reads a payload of the version before `newer`.
    ///
    /// # Errors
    /// As [`OlderVersion::decode`].
    fn decode(version: u32, json: &[u8], newer: u32) -> Result<T, DecodeError>
    where
        T: Readable,
    {
        read_exactly(version, newer - 1, || T::from_json(json))
    }
}

impl<T> UpcastFromPlain<T> for UpcastSource<T> {}

/// Whether an older version belongs to the channel `name`, as far as it says.
#[must_use]
pub const fn is_same_channel(older: Option<(&str, u32)>, name: &str) -> bool {
    match older {
        Some((older, _)) => same(older.as_bytes(), name.as_bytes()),
        None => true,
    }
}

/// Whether an older version comes before `version`, as far as it says.
#[must_use]
pub const fn is_older(older: Option<(&str, u32)>, version: u32) -> bool {
    match older {
        Some((_, older)) => older < version,
        None => true,
    }
}
