//! The derive of `pubsub`: binds a payload type to its channel at compile time.
//!
//! Use it through `pubsub`, which re-exports it; the two are released together. Each derive has three stages:
//!
//! | module | from | to |
//! |---|---|---|
//! | `read` | tokens | typed attributes and fields |
//! | `check` | typed attributes and fields | a channel that keeps the rules |
//! | `write` | a channel | `impl Channel` |
//!
//! No stage stops at a mistake. `errors` collects all of them, and the derive still writes an implementation, so that each
//! mistake is reported once, on the tokens that hold it, and not again wherever the channel is used.
//!
//! `lock_file` compares a payload with its lock file. `routes` is the macro `routes!`, with the same three stages.

mod check;
mod derive;
mod duration;
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
/// The doc comment becomes the channel's description: the lines of a paragraph joined, the paragraphs kept.
///
/// # The attribute
/// First the name: 1 to 63 characters of `a-z`, `0-9`, `.`, `_` and `-`, starting with a letter or a digit. Then, in any
/// order, keys; each one left out has the default of `Channel`.
///
/// | key | value |
/// |---|---|
/// | `max_attempts = 8` | from 1: how often a delivery is started before it becomes a dead letter |
/// | `backoff(..)` | the delays between attempts: `initial = "1s"`, `factor = 2.0` (1 to 1,000,000), `max = "15m"` (at most 24h), `jitter = 0.2` (0 to 1); each one left out is as in `Backoff::DEFAULT` |
/// | `max_panics = 3` | from 1: how often an event's handler panics before the event becomes a dead letter, even if attempts remain |
/// | `timeout = "30s"` | above 0, at most 24h: how long a handler may take for one delivery; left out, as long as it likes |
/// | `key = order_id` | a field, or a path to one, that implements `Display`, or an `Option` of such: what the event belongs to; `None` is no key |
/// | `ordered` | subscriptions handle the events of one key one after another, unless they say otherwise; needs `key` |
/// | `dedupe = "{user_id}:{kind}"` | fields in braces, as for `key`: an event is not published if one with the same dedupe key was within the channel's window, a day unless set by `pubsub.set_dedupe_window`; a `None` in it is no dedupe key |
/// | `retention = "30d"` | how long events stay in the log after everybody has read them, or `"forever"`; not shorter than retries may take |
/// | `strict` | payloads are held against the type's JSON Schema when they are published: see `Channel::STRICT` |
/// | `version = 2` | from 1: the version of the payload's shape |
/// | `upcast_from = EmailV1` | what the payload was in the version before: a type with `Deserialize` from which this one is made by `From`; needed from version 2 on, or `none` if there are no older events |
/// | `crate = ::path` | where `pubsub` is, if not at `::pubsub` |
///
/// A duration is a number and a unit: `"500ms"`, `"1.5s"`, `"15m"`, `"2h"`, `"1d"`.
///
/// Before a field, `#[channel(redact)]` keeps its value out of logs, of the `Debug` of a delivery, and of stored errors.
///
/// # The type
/// It implements `Serialize` and `Deserialize` and owns its data: no lifetimes, no references. A type parameter has to
/// be a payload itself, and every instance of the type is on the same channel.
///
/// It may be an enum, however serde tags it: `key` and `dedupe` then name fields that every variant has. A tuple's fields
/// are `0`, `1`, and so on. Fields have the names that they have in Rust, whatever serde calls them, and one that is
/// `#[serde(skip)]` can be no part of a key.
#[proc_macro_derive(Channel, attributes(channel))]
pub fn derive_channel(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive::channel(&input).into()
}

/// `pubsub::routes!`, after the path under which it was called. Documented there.
#[proc_macro]
#[doc(hidden)]
pub fn routes(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    routes::expand_routes(input.into()).into()
}

/// Implements `pubsub::Shape` for a type that payloads are made of, so that a change of it is noticed. `#[derive(Channel)]`
/// does it for payloads themselves.
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

/// Implements `pubsub::OlderVersion` for what a channel's payload was before: `#[channel("email", version = 1)]`, with
/// `upcast_from = ..` if there is a version before that one too.
///
/// It derives `Deserialize` as well, and nothing publishes it.
#[proc_macro_derive(OlderVersion, attributes(channel))]
pub fn derive_older_version(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    derive::older_version(&input).into()
}
