//! The derive of `pubsub`: binds a payload type to its channel at compile time.
//!
//! Use it through `pubsub`, which re-exports it; the two are released together. The stages, one module each:
//!
//! | stage | module | from → to |
//! |---|---|---|
//! | read | `attr`, with `item`, `value` and `docs` | tokens → typed attributes |
//! | check | `check`, with `name` and `duration`; `shape` for the type itself | typed attributes → a channel |
//! | write | `expand`, with `unique` | a channel → `impl Channel` |
//!
//! No stage stops at a mistake: `errors` collects them, and what is left is still expanded, so that a mistake shows up
//! once, on the tokens that hold it, and not again wherever the channel is used. `routes` is the macro `routes!`.

mod attr;
mod check;
mod docs;
mod duration;
mod errors;
mod expand;
mod item;
mod name;
mod routes;
mod schema;
mod shape;
mod suggest;
mod unique;
mod value;

use errors::Errors;
use proc_macro2::TokenStream;
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
/// | `strict` | payloads are held against the type's JSON Schema when they are published: see `Channel::STRICT` |
/// | `version = 2` | from 1: the version of the payload's shape |
/// | `crate = ::path` | where `pubsub` is, if not at `::pubsub` |
///
/// A duration is a number and a unit: `"500ms"`, `"1.5s"`, `"15m"`, `"2h"`, `"1d"`.
///
/// # The type
/// It implements `Serialize` and `Deserialize` and owns its data: no lifetimes, no references. A type parameter has to
/// be a payload itself, and every instance of the type is on the same channel.
#[proc_macro_derive(Channel, attributes(channel))]
pub fn derive_channel(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand_channel(&input).into()
}

/// `pubsub::routes!`, after the path under which it was called. Documented there.
#[proc_macro]
#[doc(hidden)]
pub fn routes(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    routes::expand_routes(input.into()).into()
}

fn expand_channel(input: &DeriveInput) -> TokenStream {
    let mut errors = Errors::default();
    let attr = attr::read(input, &mut errors);
    let channel = check::check(attr, &input.ident, &mut errors);
    schema::check(input, &channel, &mut errors);
    let mut unfit = shape::check(input);
    let mut tokens = expand::expand(input, &channel, unfit.take_first().as_ref());
    tokens.extend(errors.into_compile_errors());
    tokens.extend(unfit.into_compile_errors());
    tokens
}
