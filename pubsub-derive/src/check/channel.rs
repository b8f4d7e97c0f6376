//! Checks the attributes of a channel.

use super::backoff::{Backoff, check_backoff};
use super::duration::read_duration;
use super::keys::{self, Keys};
use super::retention::{Retention, check_retention};
use crate::errors::Errors;
use crate::limits;
use crate::name;
use crate::read::channel_attr::ChannelAttr;
use crate::read::fields::Fields;
use crate::read::redaction::{self, Redaction};
use crate::read::value::{Setting, Spanned};
use proc_macro2::TokenStream;
use std::time::Duration;
use syn::{DeriveInput, Ident, LitStr, Path, PathSegment};

/// A channel whose settings keep the rules. It has no name if its name was refused.
pub(crate) struct Channel<'a> {
    pub(crate) name: Option<LitStr>,
    pub(crate) description: String,
    pub(crate) version: Option<u32>,
    pub(crate) upcast: Upcast,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) max_panics: Option<u32>,
    pub(crate) max_crashes: Option<u32>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retention: Option<Retention>,
    pub(crate) keys: Keys<'a>,
    /// Empty if nothing is redacted.
    pub(crate) redactions: Vec<Redaction<'a>>,
    /// The word `strict`, if it is there.
    pub(crate) strict: Option<TokenStream>,
    pub(crate) krate: Option<Path>,
}

/// How events of the previous version are read.
pub(crate) enum Upcast {
    /// They are not read, because there are none.
    None,
    /// They are read as this type, and converted.
    From(Path),
}

/// Checks the attributes of the type in `input`. `fields` is `None` for a union.
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
        check_path(path, errors);
    }
    let max_attempts = attr.max_attempts.and_then(|count| check_count("max_attempts", &count, errors));
    let backoff = attr.backoff.and_then(|backoff| check_backoff(backoff, errors));
    let retention =
        attr.retention.and_then(|retention| check_retention(retention, &max_attempts, &backoff, errors));
    let version = attr.version.and_then(|version| {
        let value = check_count("version", &version, errors)?;
        Some(Spanned { value, tokens: version.tokens })
    });
    let upcast = check_upcast(&version, attr.upcast_from, of, errors);
    Channel {
        name: name.set(),
        description: attr.description,
        version: version.set().map(|version| version.value),
        upcast,
        max_attempts: max_attempts.set(),
        backoff: backoff.set(),
        max_panics: attr.max_panics.and_then(|count| check_count("max_panics", &count, errors)).set(),
        max_crashes: attr.max_crashes.and_then(|count| check_count("max_crashes", &count, errors)).set(),
        timeout: attr.timeout.and_then(|timeout| check_timeout(timeout, errors)).set(),
        retention: retention.set(),
        keys: keys::check(attr.keys, fields, errors),
        redactions: fields.map(|fields| redaction::read(fields, errors)).unwrap_or_default(),
        strict: attr.strict.set(),
        krate: attr.krate.set(),
    }
}

/// Reports a version from 2 on without `upcast_from`, and version 1 with it.
fn check_upcast(
    version: &Setting<Spanned<u32>>,
    upcast_from: Setting<Path>,
    of: &Ident,
    errors: &mut Errors,
) -> Upcast {
    match (version, upcast_from) {
        (Setting::Set(Spanned { value: 1, .. }) | Setting::Unset, Setting::Set(path))
            if !path.is_ident("none") =>
        {
            errors.push(
                &path,
                "version 1 has no older events for `upcast_from`\n\
                 add `version = 2`, or remove `upcast_from`",
            );
        }
        (_, Setting::Set(path)) if !path.is_ident("none") => return Upcast::From(path),
        (Setting::Set(version), Setting::Unset) if version.value > 1 => {
            let (version, before, at) = (version.value, version.value - 1, &version.tokens);
            errors.push(
                at,
                format!(
                    "version {version} needs `upcast_from`, the type by which events of version {before} are read\n\
                     write `upcast_from = {of}V{before}`, where `{of}V{before}` is the old definition of `{of}`, with \
                     `#[derive(Deserialize)]` and `impl From<{of}V{before}> for {of}`\n\
                     or write `upcast_from = none`, if there are no such events"
                ),
            );
        }
        _ => {}
    }
    Upcast::None
}

/// Reports a relative path, which has another meaning in each module.
fn check_path(path: &Path, errors: &mut Errors) {
    let root = path.segments.first().map(|first| first.ident.to_string());
    // `$crate` is the path of a `macro_rules!` of another crate.
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
            "`crate` takes an absolute path, because `{relative}` has another meaning in each module\nwrite {write}"
        ),
    );
}

fn spelled(segment: &PathSegment) -> String {
    segment.ident.to_string()
}

/// Checks a count, which is from 1 to `i32::MAX`.
fn check_count(key: &'static str, count: &Spanned<i128>, errors: &mut Errors) -> Option<u32> {
    limits::count(key, count.value)
        .map_err(|refused| {
            let hint = match key {
                "max_attempts" if count.value == 0 => {
                    "\nwrite `max_attempts = 1` for one attempt and no retry"
                }
                "max_panics" if count.value == 0 => {
                    "\nwrite `max_panics = 1` for a dead letter at the first panic"
                }
                "max_crashes" if count.value == 0 => {
                    "\nwrite `max_crashes = 1` for a dead letter at the first death of its process"
                }
                _ => "",
            };
            errors.push(&count.tokens, format!("{refused}{hint}"));
        })
        .ok()
}

fn check_timeout(timeout: Spanned<String>, errors: &mut Errors) -> Option<Duration> {
    let no_timeout = "to give a handler unlimited time, leave `timeout` out";
    let timeout = read_duration(timeout, errors)?;
    match limits::timeout(timeout.value) {
        Ok(()) => Some(timeout.value),
        Err(refused) => {
            errors.push(&timeout.tokens, format!("{refused}\n{no_timeout}"));
            None
        }
    }
}

/// Refuses `strict` on a generic type, which has no single schema.
fn refuse_strict(input: &DeriveInput, strict: &Setting<TokenStream>, errors: &mut Errors) {
    if let Setting::Set(strict) = strict
        && !input.generics.params.is_empty()
    {
        let of = &input.ident;
        errors.push(
            strict,
            format!(
                "a generic type cannot be strict: each `{of}<..>` has another schema, and they share a channel\n\
                 give each `{of}<..>` that you publish a type and a channel of its own"
            ),
        );
    }
}
