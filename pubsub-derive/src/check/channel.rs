//! Applies the rules to what the attributes say. What breaks one is reported, and left out of the result.

use super::backoff::{Backoff, check_backoff};
use super::duration::read_duration;
use super::keys::{self, Keys};
use super::retention::check_retention;
use crate::errors::Errors;
use crate::limits;
use crate::name;
use crate::read::channel_attr::ChannelAttr;
use crate::read::fields::Fields;
use crate::read::redaction::{self, Redaction};
use crate::read::value::{Given, Setting};
use proc_macro2::TokenStream;
use std::time::Duration;
use syn::{DeriveInput, Ident, LitStr, Path, PathSegment};

/// A channel that keeps every rule, but for a name, which it may lack after an error.
pub(crate) struct Channel<'a> {
    pub(crate) name: Option<LitStr>,
    pub(crate) description: String,
    pub(crate) version: Option<u32>,
    pub(crate) upcast: Upcast,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) max_panics: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    /// `Some(None)` is for ever.
    pub(crate) retention: Option<Option<Duration>>,
    pub(crate) keys: Keys<'a>,
    /// Empty if nothing is redacted.
    pub(crate) redactions: Vec<Redaction<'a>>,
    /// The word, if it is there.
    pub(crate) strict: Option<TokenStream>,
    pub(crate) krate: Option<Path>,
}

/// How events of the version before are read.
pub(crate) enum Upcast {
    /// Not at all: there are none.
    None,
    /// As this type, which is then converted.
    From(Path),
}

/// Checks the attributes of the type in `input`, which has these fields.
pub(crate) fn check<'a>(
    attr: ChannelAttr,
    input: &DeriveInput,
    fields: Option<&Fields<'a>>,
    errors: &mut Errors,
) -> Channel<'a> {
    let of = &input.ident;
    refuse_strict(input, &attr.strict, errors);
    let name = attr.name.and_then(|literal| match name::check(&literal.value(), of) {
        Ok(()) => Some(literal),
        Err(message) => {
            errors.push(&literal, message);
            None
        }
    });
    if let Setting::Set(path) = &attr.krate {
        absolute(path, errors);
    }
    let max_attempts = attr.max_attempts.and_then(|given| from_one("max_attempts", &given, errors));
    let backoff = attr.backoff.and_then(|backoff| check_backoff(backoff, errors));
    let retention = attr.retention.and_then(|given| check_retention(given, &max_attempts, &backoff, errors));
    let version = attr.version.and_then(|given| {
        let value = from_one("version", &given, errors)?;
        Some(Given { value, tokens: given.tokens })
    });
    let upcast = check_upcast(&version, attr.upcast_from, of, errors);
    Channel {
        name: name.set(),
        description: attr.description,
        version: version.set().map(|given| given.value),
        upcast,
        max_attempts: max_attempts.set(),
        backoff: backoff.set(),
        max_panics: attr.max_panics.and_then(|given| from_one("max_panics", &given, errors)).set(),
        timeout: attr.timeout.and_then(|given| check_timeout(given, errors)).set(),
        retention: retention.set(),
        keys: keys::check(attr.keys, fields, errors),
        redactions: fields.map(|fields| redaction::read(fields, errors)).unwrap_or_default(),
        strict: attr.strict.set(),
        krate: attr.krate.set(),
    }
}

/// Reports a version whose older ones cannot be read, without a word about that.
fn check_upcast(
    version: &Setting<Given<u32>>,
    upcast_from: Setting<Path>,
    of: &Ident,
    errors: &mut Errors,
) -> Upcast {
    match (version, upcast_from) {
        (Setting::Set(Given { value: 1, .. }) | Setting::Unset, Setting::Set(path))
            if !path.is_ident("none") =>
        {
            errors.push(
                &path,
                "`upcast_from` is for events of an older version, and this is version 1\n\
                 write `version = 2` beside it, or remove it",
            );
        }
        (_, Setting::Set(path)) if !path.is_ident("none") => return Upcast::From(path),
        (Setting::Set(given), Setting::Unset) if given.value > 1 => {
            let (version, before) = (given.value, given.value - 1);
            errors.push(
                &given.tokens,
                format!(
                    "nothing says how an event of version {before} is read as version {version}\n\
                     write `upcast_from = {of}V{before}`, where `{of}V{before}` is what `{of}` was in version {before}, with `#[derive(Deserialize)]`, \
                     and `impl From<{of}V{before}> for {of}`\n\
                     or write `upcast_from = none`, if there are no such events"
                ),
            );
        }
        _ => {}
    }
    Upcast::None
}

/// Reports a path that means something else in another module.
fn absolute(path: &Path, errors: &mut Errors) {
    let root = path.segments.first().map(|first| first.ident.to_string());
    // `$crate` is how a `macro_rules!` of another crate says where it came from.
    if path.leading_colon.is_some() || matches!(root.as_deref(), Some("crate" | "$crate")) {
        return;
    }
    let segments: Vec<String> = path.segments.iter().map(spelled).collect();
    let relative = segments.join("::");
    let write = match segments.as_slice() {
        [first, ..] if first == "self" || first == "super" => {
            "`crate::` and the path from your crate's root".to_owned()
        }
        _ => format!("`::{relative}` for a dependency, or `crate::{relative}` for a module of your crate"),
    };
    errors.push(
        path,
        format!(
            "`crate` takes an absolute path, because `{relative}` means another thing in every module\nwrite {write}"
        ),
    );
}

fn spelled(segment: &PathSegment) -> String {
    segment.ident.to_string()
}

/// A `u32` from 1 on.
fn from_one(key: &'static str, given: &Given<i128>, errors: &mut Errors) -> Option<u32> {
    limits::count(key, given.value)
        .map_err(|refused| {
            let hint = match key {
                "max_attempts" if given.value == 0 => {
                    "\nwrite `max_attempts = 1` for one attempt and no retry"
                }
                "max_panics" if given.value == 0 => "\nwrite `max_panics = 1` to give up at the first panic",
                _ => "",
            };
            errors.push(&given.tokens, format!("{refused}{hint}"));
        })
        .ok()
}

fn check_timeout(given: Given<String>, errors: &mut Errors) -> Option<Duration> {
    let no_timeout = "leave `timeout` out to let a handler take as long as it likes";
    let given = read_duration(given, errors)?;
    match limits::timeout(given.value) {
        Ok(()) => Some(given.value),
        Err(refused) => {
            errors.push(&given.tokens, format!("{refused}\n{no_timeout}"));
            None
        }
    }
}

/// Refuses `strict` where no schema can be found.
fn refuse_strict(input: &DeriveInput, strict: &Setting<TokenStream>, errors: &mut Errors) {
    if let Setting::Set(strict) = strict
        && !input.generics.params.is_empty()
    {
        let of = &input.ident;
        errors.push(
            strict,
            format!(
                "a type with parameters cannot be strict: `{of}` has another shape with each of them, and one channel\n\
                 give each `{of}<..>` that you publish a type and a channel of its own"
            ),
        );
    }
}
