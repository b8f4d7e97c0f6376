//! Older versions of a channel's payload, and how an event of one is read as the newest.

use crate::contract::shape::same;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;

/// What a channel's payload was in an earlier version: it can be read, and is never written. Derive it where a version has
/// one before it; the version right before the newest needs no more than `Deserialize`.
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
    /// If the payload is not what its version says, or nothing here can read that version.
    #[doc(hidden)]
    fn decode(version: u32, json: &[u8]) -> Result<Self, Unreadable> {
        read_this(version, Self::VERSION, || Self::from_json(json))
    }
}

/// What an older version has to be: owned data that serde can read.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read as an older version",
    label = "needs `Deserialize`, without borrowed data",
    note = "add `#[derive(serde::Deserialize)]` to `{Self}`"
)]
pub trait Readable: Sized {
    /// From JSON text.
    #[doc(hidden)]
    fn from_json(json: &[u8]) -> serde_json::Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned> Readable for T {
    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }
}

/// What makes a newer version of an older one.
#[diagnostic::on_unimplemented(
    message = "nothing makes a `{Self}` of its older version `{Old}`",
    label = "`{Self}` is not made of this",
    note = "write `impl From<{Old}> for {Self}`"
)]
pub trait UpcastFrom<Old>: Sized {
    /// The newer version.
    fn upcast(old: Old) -> Self;
}

#[diagnostic::do_not_recommend]
impl<Old, New: From<Old>> UpcastFrom<Old> for New {
    fn upcast(old: Old) -> Self {
        old.into()
    }
}

/// Why the payload of an event could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unreadable {
    /// It is not what the type reads.
    #[error("{0}")]
    Json(serde_json::Error),
    /// It is older than whatever this process can read.
    #[error(
        "it is of version {version}, and {oldest} is the oldest that can be read here: give that one an `upcast_from`"
    )]
    TooOld {
        /// The event's version.
        version: u32,
        /// The oldest that can be read.
        oldest: u32,
    },
}

/// Reads a payload that has to be of the version `this`.
pub(crate) fn read_this<T>(
    version: u32,
    this: u32,
    read: impl FnOnce() -> serde_json::Result<T>,
) -> Result<T, Unreadable> {
    // What is newer never gets here: it is left to a process that knows it.
    if version < this {
        return Err(Unreadable::TooOld { version, oldest: this });
    }
    read().map_err(Unreadable::Json)
}

/// What `upcast_from` names: a type that derives [`OlderVersion`], or else any that can be deserialized, which then is the
/// version right before. What is inherent goes before what is a trait's, but only where its bounds hold.
#[derive(Debug)]
pub struct Before<T>(PhantomData<T>);

impl<T: OlderVersion> Before<T> {
    /// The channel and the version.
    pub const OLDER: Option<(&'static str, u32)> = Some((T::NAME, T::VERSION));

    /// Reads a payload that is older than `version`.
    ///
    /// # Errors
    /// As [`OlderVersion::decode`].
    pub fn decode(version: u32, json: &[u8], _: u32) -> Result<T, Unreadable> {
        T::decode(version, json)
    }
}

/// Whether an older version is the same channel's.
#[must_use]
pub const fn is_same_channel(older: Option<(&str, u32)>, name: &str) -> bool {
    match older {
        Some((older, _)) => same(older.as_bytes(), name.as_bytes()),
        None => true,
    }
}

/// Whether an older version is older.
#[must_use]
pub const fn is_older(older: Option<(&str, u32)>, version: u32) -> bool {
    match older {
        Some((_, older)) => older < version,
        None => true,
    }
}

/// The rest: see [`Before`].
pub trait PlainBefore<T> {
    /// Nothing is said of it.
    const OLDER: Option<(&'static str, u32)> = None;

    /// Reads a payload of the version before `newer`.
    ///
    /// # Errors
    /// As [`OlderVersion::decode`].
    fn decode(version: u32, json: &[u8], newer: u32) -> Result<T, Unreadable>
    where
        T: Readable,
    {
        read_this(version, newer - 1, || T::from_json(json))
    }
}

impl<T> PlainBefore<T> for Before<T> {}
