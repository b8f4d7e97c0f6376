//! The macros of `pubsub`, which bind payload types to channels at compile time.
//!
//! Use them through `pubsub`, which re-exports them. The two crates are released together.
//!
//! Each derive has three stages:
//!
//! | module | from | to |
//! |---|---|---|
//! | `read` | tokens | typed attributes and fields |
//! | `check` | typed attributes and fields | a channel that keeps the rules |
//! | `write` | a channel | `impl Channel` |
//!
//! No stage stops at a mistake. `errors` collects all of them, and the derive still writes an implementation. So each mistake
//! is reported once, on its own tokens, and not again wherever the channel is used.
//!
//! `lock_file` compares a payload with its lock file. `routes` is the macro `routes!`, with the same three stages.

mod check;
mod derive;
mod errors;
mod limits;
mod lock_file;
mod name;
mod read;
mod routes;
mod suggest;
mod write;

use syn::DeriveInput;

/// Implements `pubsub::Channel` for a struct or an enum.
///
/// ```ignore
/// /// A text message to a customer's phone.
/// #[derive(Serialize, Deserialize, Channel)]
/// #[channel("sms", max_attempts = 8, backoff(initial = "1s", factor = 2.0, max = "15m", jitter = 0.2))]
/// struct Sms {
///     msg: String,
/// }
/// ```
///
/// The doc comment becomes the channel's description, with one line for each paragraph.
///
/// # The attribute
/// The name comes first: 1 to 63 characters of `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter or a digit. Keys follow
/// in any order. A key that is left out has the default of `Channel`.
///
/// | key | meaning |
/// |---|---|
/// | `max_attempts = 8` | how many times a delivery is started before it becomes a dead letter; from 1 |
/// | `backoff(..)` | the delays between attempts: `initial = "1s"`, `factor = 2.0` (1 to 1,000,000), `max = "15m"` (at most 24h), `jitter = 0.2` (0 to 1); a value that is left out is that of `Backoff::DEFAULT` |
/// | `max_panics = 3` | how many panics of its handler make an event a dead letter, even if attempts remain; from 1 |
/// | `max_crashes = 3` | how many deaths of its process make an event a dead letter, even if attempts remain; from 1; with 1, dead letters may be innocent |
/// | `timeout = "30s"` | how long a handler may take for one delivery; above 0, at most 24h; unlimited if left out |
/// | `key = order_id` | the entity that the event belongs to: a field, or a path to one, that implements `Display`, or an `Option` of such a type; `None` is no key |
/// | `ordered` | subscriptions handle the events of one key one after another, unless they choose otherwise; needs `key` |
/// | `dedupe = "{user_id}:{kind}"` | the deduplication key, with fields in braces as for `key`, and text between them; text of a field that occurs in the template too is put behind a backslash, so that different fields make different keys; an event is not published if one with the same deduplication key was published within the channel's window, which is a day unless `pubsub.set_dedupe_window` sets it; with a `None` in it, there is no deduplication key |
/// | `retention = "30d"` | how long an event stays in the log after all subscriptions have read it, or `"forever"`; not shorter than retries may take |
/// | `strict` | payloads are checked against the type's JSON Schema when they are published: see `Channel::STRICT` |
/// | `version = 2` | the version of the payload's shape; from 1 |
/// | `upcast_from = EmailV1` | the previous version of the payload: a type with `Deserialize` that this type implements `From` for; required from version 2 on, or `none` if there are no older events |
/// | `crate = ::path` | the path of `pubsub`, if it is not `::pubsub` |
///
/// A duration is a number and a unit: `"500ms"`, `"1.5s"`, `"15m"`, `"2h"`, `"1d"`.
///
/// On a field, `#[channel(redact)]` keeps the value out of logs, out of the `Debug` output of a delivery, and out of stored
/// error messages.
///
/// # The type
/// The type implements `Serialize` and `Deserialize`, and owns its data: it has no lifetimes and no references. A type
/// parameter must be a payload itself, and all instances of a generic type share the channel.
///
/// The type may be an enum in any representation of serde. Then `key` and `dedupe` take fields that every variant has. The
/// fields of a tuple are `0`, `1`, and so on. Attributes use the names of fields in Rust, not those in the JSON, and a field
/// with `#[serde(skip)]` cannot be part of a key.
#[proc_macro_derive(Channel, attributes(channel))]
pub fn derive_channel(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive::channel(&input).into()
}

/// Expands `pubsub::routes!`, which is documented there and passes its own path on.
#[proc_macro]
#[doc(hidden)]
pub fn routes(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    routes::expand(input.into()).into()
}

/// Implements `pubsub::Shape` for a type that payloads are made of, so that changes of it are noticed. `#[derive(Channel)]`
/// implements it for payloads themselves.
///
/// ```ignore
/// #[derive(Serialize, Deserialize, Shape)]
/// struct Address {
///     street: String,
///     city: String,
/// }
/// ```
#[proc_macro_derive(Shape)]
pub fn derive_shape(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive::shape(&input).into()
}

/// Implements `pubsub::OlderVersion` for an earlier version of a channel's payload.
///
/// The attribute has the name and the version, `#[channel("email", version = 1)]`, and `upcast_from = ..` if there is a still
/// older version. The type also derives `Deserialize`.
#[proc_macro_derive(OlderVersion, attributes(channel))]
pub fn derive_older_version(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive::older_version(&input).into()
}
