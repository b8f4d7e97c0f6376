//! Applies the rules to what the attributes say. What breaks one is reported, and left out of the result.

use crate::attr::{BackoffAttr, ChannelAttr};
use crate::errors::Errors;
use crate::fields::Fields;
use crate::keys::{self, Keys};
use crate::redact::{self, Redaction};
use crate::value::{Given, Setting};
use crate::{duration, horizon, name};
use proc_macro2::TokenStream;
use std::time::Duration;
use syn::{Ident, LitStr, Path, PathSegment};

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

/// What `backoff(..)` sets; the rest is as in `pubsub::Backoff::DEFAULT`.
pub(crate) struct Backoff {
    pub(crate) initial: Option<Duration>,
    pub(crate) factor: Option<f64>,
    pub(crate) max: Option<Duration>,
    pub(crate) jitter: Option<f64>,
}

// `pubsub::Backoff::DEFAULT`, which a derive cannot read. Only compared with, never written into the user's crate;
// `tests/ui/pass/full_surface.rs` holds them against the original.
pub(crate) const DEFAULT_INITIAL: Duration = Duration::from_secs(1);
pub(crate) const DEFAULT_MAX: Duration = Duration::from_secs(15 * 60);

/// `pubsub::Backoff::LONGEST`, and the longest timeout as well.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks the attributes of the type `of`, which has these fields.
pub(crate) fn check<'a>(
    attr: ChannelAttr,
    of: &Ident,
    fields: Option<&Fields<'a>>,
    errors: &mut Errors,
) -> Channel<'a> {
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
        redactions: fields.map(|fields| redact::read(fields, errors)).unwrap_or_default(),
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
fn from_one(key: &str, given: &Given<i128>, errors: &mut Errors) -> Option<u32> {
    let value = u32::try_from(given.value).ok().filter(|value| *value >= 1);
    if value.is_none() {
        let why = match key {
            "max_attempts" if given.value == 0 => {
                "no event would ever be delivered\nwrite `max_attempts = 1` for one attempt and no retry"
            }
            "max_panics" if given.value == 0 => {
                "every event would be given up before its handler panics\n\
                 write `max_panics = 1` to give up at the first panic"
            }
            _ => "it is a whole number from 1 to 4294967295",
        };
        errors.push(&given.tokens, format!("`{key}` cannot be {}: {why}", given.value));
    }
    value
}

fn check_timeout(given: Given<String>, errors: &mut Errors) -> Option<Duration> {
    let no_timeout = "leave `timeout` out to let a handler take as long as it likes";
    let given = read_duration(given, errors)?;
    if given.value.is_zero() {
        let why = "every delivery would be cancelled as it starts";
        errors.push(&given.tokens, format!("`timeout` cannot be 0: {why}\n{no_timeout}"));
        return None;
    }
    at_most_longest("timeout", given, no_timeout, errors).map(|given| given.value)
}

/// How long events stay in the log. `Some(None)` is for ever.
fn check_retention(
    given: Given<String>,
    max_attempts: &Setting<u32>,
    backoff: &Setting<Backoff>,
    errors: &mut Errors,
) -> Option<Option<Duration>> {
    match given.value.trim().to_lowercase().as_str() {
        "forever" if given.value == "forever" => return Some(None),
        "forever" | "for ever" | "never" | "none" | "infinite" | "infinity" | "unlimited" => {
            let message =
                format!("`{}` is no duration\nto keep events for ever, write `\"forever\"`", given.value);
            errors.push(&given.tokens, message);
            return None;
        }
        _ => {}
    }
    let given = read_duration(given, errors)?;
    // What is broken would only be told twice.
    let max_attempts = match max_attempts {
        Setting::Broken => return None,
        Setting::Unset => None,
        Setting::Set(attempts) => Some(*attempts),
    };
    let backoff = match backoff {
        Setting::Broken => return None,
        Setting::Unset => None,
        Setting::Set(backoff) => Some(backoff),
    };
    if let Some(message) = horizon::refuse(given.value, horizon::horizon(max_attempts, backoff)) {
        errors.push(&given.tokens, message);
        return None;
    }
    Some(Some(given.value))
}

fn check_backoff(attr: BackoffAttr, errors: &mut Errors) -> Option<Backoff> {
    let factor = attr.factor.and_then(|given| {
        within("factor", &given, 1.0..=1e6, "1 keeps every delay the same, 2 doubles it each time", errors)
    });
    let jitter = attr.jitter.and_then(|given| {
        within(
            "jitter",
            &given,
            0.0..=1.0,
            "it is a share of the delay: 0.2 moves it by up to 20 % either way",
            errors,
        )
    });
    let initial = attr.initial.and_then(|given| read_duration(given, errors));
    let max = attr.max.and_then(|given| read_duration(given, errors)).and_then(|given| {
        at_most_longest("max", given, "to keep trying for longer, raise `max_attempts`", errors)
    });
    let ordered = in_order(&initial, &max, errors);
    let broken = !ordered || matches!((&factor, &jitter), (Setting::Broken, _) | (_, Setting::Broken));
    // A part of a backoff is no backoff: its values depend on each other.
    (!broken).then(|| Backoff {
        initial: initial.set().map(|given| given.value),
        factor: factor.set(),
        max: max.set().map(|given| given.value),
        jitter: jitter.set(),
    })
}

fn within(
    key: &str,
    given: &Given<f64>,
    range: std::ops::RangeInclusive<f64>,
    hint: &str,
    errors: &mut Errors,
) -> Option<f64> {
    if range.contains(&given.value) {
        return Some(given.value);
    }
    let (from, to) = (range.start(), range.end());
    errors
        .push(&given.tokens, format!("`{key}` is a number from {from} to {to}, not {}\n{hint}", given.value));
    None
}

fn read_duration(given: Given<String>, errors: &mut Errors) -> Option<Given<Duration>> {
    match duration::parse(&given.value) {
        Ok(value) => Some(Given { value, tokens: given.tokens }),
        Err(message) => {
            errors.push(&given.tokens, message);
            None
        }
    }
}

fn at_most_longest(
    key: &str,
    given: Given<Duration>,
    hint: &str,
    errors: &mut Errors,
) -> Option<Given<Duration>> {
    if given.value <= LONGEST {
        return Some(given);
    }
    let shown = duration::display(given.value);
    errors.push(&given.tokens, format!("`{key}` is at most 24h, not {shown}\n{hint}"));
    None
}

/// Reports an `initial` above `max`. `false` if that is so, or if it cannot be told.
fn in_order(initial: &Setting<Given<Duration>>, max: &Setting<Given<Duration>>, errors: &mut Errors) -> bool {
    let show = duration::display;
    match (initial, max) {
        (Setting::Broken, _) | (_, Setting::Broken) => return false,
        (Setting::Set(initial), Setting::Set(max)) if initial.value > max.value => errors.push(
            &initial.tokens,
            format!(
                "`initial` is longer than `max`: {} and {}\nlower `initial` or raise `max`",
                show(initial.value),
                show(max.value)
            ),
        ),
        (Setting::Set(initial), Setting::Unset) if initial.value > LONGEST => errors.push(
            &initial.tokens,
            format!("`initial` is at most 24h, as `max` is, not {}", show(initial.value)),
        ),
        (Setting::Set(initial), Setting::Unset) if initial.value > DEFAULT_MAX => {
            let (initial_is, max_is) = (show(initial.value), show(DEFAULT_MAX));
            errors.push(
                &initial.tokens,
                format!(
                    "`initial` is longer than `max`: {initial_is} and {max_is}, the default\n\
                     set `max` as well, to {initial_is} or more"
                ),
            );
        }
        (Setting::Unset, Setting::Set(max)) if max.value < DEFAULT_INITIAL => {
            let (initial_is, max_is) = (show(DEFAULT_INITIAL), show(max.value));
            errors.push(
                &max.tokens,
                format!(
                    "`max` is shorter than `initial`: {max_is} and {initial_is}, the default\n\
                     set `initial` as well, to {max_is} or less"
                ),
            );
        }
        _ => return true,
    }
    false
}
